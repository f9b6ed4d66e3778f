#!/usr/bin/env bash
# What more shards cost: instructions and ring traffic for each delivery with 1, 2, 4 and 8 shards on
# one thread, over pipes in memory, under valgrind.
# Usage: scripts/bench-shards.sh [row...]
set -euo pipefail
cd "$(dirname "$0")/.."

command -v valgrind >/dev/null || {
  echo "bench-shards: valgrind is missing; install it (Debian: apt-get install valgrind)" >&2
  exit 1
}
cargo build --quiet --release --package ringbus-engine-bench --bin engine-bench
exec "${CARGO_TARGET_DIR:-target}/release/engine-bench" across "$@"
