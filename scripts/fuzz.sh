#!/usr/bin/env bash
# Gives every parser changed inputs for some minutes; what does harm is kept in tests/fixtures/hostile/fuzz, which the tests
# read from then on: mend it, and commit the file with the cure.
#
#   scripts/fuzz.sh [MINUTES [TARGET]]      10 minutes for all targets together; the names are in tests/fuzz/targets.rs
#
# Environment: SPG_FUZZ_SEED draws other inputs (by default the time does).
set -euo pipefail
cd "$(dirname "$0")/.."

export SPG_FUZZ_MINUTES=${1:-10} SPG_FUZZ_TARGET=${2:-} SPG_FUZZ_SEED=${SPG_FUZZ_SEED:-$(($(date +%s) % 1000000 + 1))}
echo "seed $SPG_FUZZ_SEED"
cargo test --release --test fuzz every_parser -- --nocapture 2>&1 | grep -vE '^\S+/report.html \(1 run\)$'
