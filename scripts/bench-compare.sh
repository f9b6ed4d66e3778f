#!/usr/bin/env bash
# Builds ringbus and the bench, and compares ringbus with nats-server 2.15.1, Debian's nats-server, the
# floor, and Redis and Valkey, as far as they are installed: every scenario, five interleaved runs.
# Takes some 25 minutes on two cores.
# Usage: scripts/bench-compare.sh [--quick] [--rows A,B] [--shards] [any word of `ringbus-bench run`]
#   --quick   a few rows, three runs
#   --rows    these rows only
#   --slow    also the rows that take minutes
#   --shards  one shard and two on the first two cores, which the generator shares, and the floor
source "$(dirname "$0")/lib/common.sh"
cd "$root"

nats=${NATS_SERVER:-$(reference_server)}
target=${CARGO_TARGET_DIR:-target}
cargo build --quiet --release --package ringbus --package ringbus-bench

runs=5
what=compare
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
words=()
for word in "$@"; do
  case $word in
    --quick) runs=3 words+=("$word") ;;
    --shards) what=shards ;;
    *) words+=("$word") ;;
  esac
done

# Short measures many times over say more than long ones: runs of a row are neighbours in time.
given=()
has '-n*' || has '--runs*' || given+=(--runs "$runs")
has '--duration*' || given+=(--duration 1.2)
has '--name*' || given+=(--name "$what-$(git rev-parse --short HEAD 2>/dev/null || echo unknown)")
if [ "$what" = shards ]; then
  cat >"$scratch/servers.toml" <<SERVERS
[[server]]
name = "ringbus-2-shards"
command = ["$target/release/ringbus", "-a", "127.0.0.1", "-p", "{port}", "--shards", "2"]
SERVERS
  given+=(--servers "$scratch/servers.toml" --server ringbus,ringbus-2-shards,floor --ringbus-shards 1)
  given+=(--server-cores 0,1 --generator-cores 0,1)
fi

"$target/release/ringbus-bench" run --ringbus "$target/release/ringbus" --nats-server "$nats" \
  "${given[@]}" "${words[@]}"
