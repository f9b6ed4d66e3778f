#!/usr/bin/env bash
# nats.go's own nats-bench against ringbus, nats-server 2.15.1 and Debian's nats-server where it is
# installed: messages per second and server CPU for each delivery, server and client pinned apart, five
# interleaved runs. Takes some five minutes.
# Usage: scripts/bench-nats-bench.sh [any word of `ringbus-bench nats-bench`, such as --share 0.1]
set -euo pipefail
cd "$(dirname "$0")/.."

version=v1.55.0
command -v go >/dev/null || {
  echo "bench-nats-bench: go is missing; install it (Debian: apt-get install golang-go)" >&2
  exit 1
}
program=$PWD/.tools/go/bin/nats-bench
[ -x "$program" ] ||
  GOBIN=${program%/*} go install "github.com/nats-io/nats.go/examples/nats-bench@$version"

nats=${NATS_SERVER:-${NATS_SERVER_BIN:-$(scripts/install-nats-server.sh)}}
target=${CARGO_TARGET_DIR:-target}
cargo build --quiet --release --package ringbus --package ringbus-bench

name=()
case " $* " in
  *' --name'*) ;;
  *) name=(--name "nats-bench-$(git rev-parse --short HEAD 2>/dev/null || echo unknown)") ;;
esac
exec "$target/release/ringbus-bench" nats-bench --program "$program" \
  --ringbus "$target/release/ringbus" --nats-server "$nats" "${name[@]}" "$@"
