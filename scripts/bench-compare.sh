#!/usr/bin/env bash
# Builds ringbus and the bench, and runs every scenario against ringbus, nats-server and the floor.
# Usage: scripts/bench-compare.sh [--quick] [any word of `ringbus-bench run`]
set -euo pipefail
cd "$(dirname "$0")/.."

target="${CARGO_TARGET_DIR:-target}"
cargo build --release --package ringbus-bench
# The bench is of use before there is anything of ours to measure.
cargo build --release --package ringbus || echo "ringbus does not build: comparing the others" >&2

runs=(--runs 5)
for word in "$@"; do
    case "$word" in
        --quick) runs=(--runs 3) ;;
    esac
done
for word in "$@"; do
    case "$word" in
        -n | --runs | -n* | --runs=*) runs=() ;;
    esac
done

name=()
if [[ " $* " != *" --name"* ]]; then
    commit="$(git rev-parse --short HEAD 2>/dev/null || echo unknown)"
    name=(--name "compare-$commit")
fi

exec "$target/release/ringbus-bench" run --ringbus "$target/release/ringbus" \
    "${runs[@]}" "${name[@]}" "$@"
