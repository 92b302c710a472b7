#!/usr/bin/env bash
# Runs `spg bench` and a PyTorch program that does the same work in turn, several times, and prints the ratios.
#
#   scripts/compare-pytorch.sh PEER.py MODEL [ROUNDS] [OPTIONS OF BOTH...]
#   scripts/compare-pytorch.sh ../peer/torch_peer.py /tmp/mid 5 --batch 2 --prompt 64 --gen 64 --steps 32 --block 32
#
# PEER.py takes the subcommand `bench` with the options of `spg bench` and prints one JSON line with rollout_tokens_per_s,
# train_step_s and peak_rss_mib. Environment: PYTHON (with torch; python3), SPG (target/release/spg), PEER_DTYPE (f32).
# The two take turns, and a ratio is that of one round, so that a machine that slows down slows both. Neither drops inputs
# of adapters: the peer has no dropout.
set -euo pipefail

if (($# < 2)); then
    sed -n '2,10s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
peer=$1 model=$2 rounds=${3:-3}
shift 2
if (($# > 0)) && [[ $1 =~ ^[0-9]+$ ]]; then shift; else rounds=3; fi
spg=${SPG:-$(dirname "$0")/../target/release/spg}
python=${PYTHON:-python3}

results=$(mktemp)
trap 'rm -f "$results"' EXIT
for ((round = 1; round <= rounds; round++)); do
    echo "round $round of $rounds" >&2
    "$spg" bench --model "$model" --rollout --train 3 --dropout 0 --json "$@" >> "$results"
    "$python" "$peer" bench --model "$model" --rollout --train 3 --dtype "${PEER_DTYPE:-f32}" "$@" | tail -n 1 >> "$results"
done

"$python" - "$results" << 'PYTHON'
import json, statistics, sys

lines = [json.loads(line) for line in open(sys.argv[1])]
rounds = list(zip(lines[0::2], lines[1::2]))


def row(name, unit, ours, theirs, ratio):
    pairs = [(a[ours], b[theirs]) for a, b in rounds]
    ratios = sorted(ratio(a, b) for a, b in pairs)
    a, b = (statistics.median(side) for side in zip(*pairs))
    print(f"{name:12} spg {a:10.4g}  peer {b:10.4g} {unit:9} ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")


row("rollout", "tokens/s", "rollout_tokens_per_s", "rollout_tokens_per_s", lambda a, b: a / b)
row("train step", "s", "train_step_s", "train_step_s", lambda a, b: b / a)
row("peak memory", "MiB", "peak_memory_mib", "peak_rss_mib", lambda a, b: a / b)
PYTHON
