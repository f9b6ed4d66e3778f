#!/usr/bin/env bash
# What it costs to be watched: ringbus that samples no subjects, ringbus as it is, and ringbus whose
# /metrics are scraped, or whose dashboard is open, each asked once a second. Runs take turns; the table
# compares CPU and rates with those of the first. Some five minutes on two cores.
# Usage: scripts/bench-metrics.sh [--rows A,B] [any word of `ringbus-bench run`]
source "$(dirname "$0")/lib/common.sh"
cd "$root"

target=${CARGO_TARGET_DIR:-target}
cargo build --quiet --release --package ringbus --package ringbus-bench
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
echo 'metrics { top_subjects: 0 }' >"$scratch/bare.conf"

# Name, the paths asked once a second, and further arguments of the server.
server() {
  local name=$1 paths=$2
  shift 2
  printf '[[server]]\nname = "%s"\ncommand = ["%s", "%s"' "$name" scripts/lib/asked.py "$paths"
  printf ', "%s"' "$target/release/ringbus" -a 127.0.0.1 -p '{port}' --shards '{cores}' "$@"
  printf ']\n\n'
}
{
  server ringbus-bare '' -c "$scratch/bare.conf"
  server ringbus-sampled ''
  server ringbus-scraped '/metrics'
  server ringbus-watched '/dashboard/data,/dashboard/connections?sort=out_rate'
} >"$scratch/servers.toml"

words=("$@")
has '--rows*' || words+=(--rows one-16,one-128,fan-100,pairs-50-bursts,subjects-100k,request-50)
has '--name*' || words+=(--name "metrics-$(git rev-parse --short HEAD 2>/dev/null || echo unknown)")
"$target/release/ringbus-bench" run --servers "$scratch/servers.toml" --reference ringbus-bare \
  --server ringbus-bare,ringbus-sampled,ringbus-scraped,ringbus-watched "${words[@]}"
