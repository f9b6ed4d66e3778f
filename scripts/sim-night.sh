#!/bin/sh
# Runs fresh seeds for as long as it may: sim-night.sh [HOURS] [JOBS]. Stops at the first block that fails.
set -eu
hours=${1:-8}
jobs=${2:-2}
block=20000
cd "$(dirname "$0")/.."
cargo build --release -p ringbus-sim
sim=${CARGO_TARGET_DIR:-target}/release/sim
end=$(($(date +%s) + hours * 3600))
# Days since 1970 times a large number: another night, other seeds.
first=$(($(date +%s) / 86400 * 100000000))
while [ "$(date +%s)" -lt "$end" ]; do
    "$sim" --seeds "$first..$((first + block))" --jobs "$jobs"
    first=$((first + block))
done
