#!/usr/bin/env bash
# Counts the engine's instructions under valgrind, row by row, and compares them with the baseline in
# the repository: more than 3 % more in any row fails.
# Usage: scripts/instruction-gate.sh [--update]   (--update writes the baseline)
set -euo pipefail
cd "$(dirname "$0")/.."
baseline=bench/engine/instructions.txt

command -v valgrind >/dev/null || {
  echo "instruction-gate: valgrind is missing; install it (Debian: apt-get install valgrind)" >&2
  exit 1
}
cargo build --quiet --release --package ringbus-engine-bench --bin engine-bench
program=${CARGO_TARGET_DIR:-target}/release/engine-bench
case ${1:-} in
  '') exec "$program" gate "$baseline" ;;
  --update) exec "$program" baseline "$baseline" ;;
  *)
    echo "usage: scripts/instruction-gate.sh [--update]" >&2
    exit 2
    ;;
esac
