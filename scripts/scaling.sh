#!/usr/bin/env bash
# How the cost of a rollout and of an update grows: time and memory against canvas, batch and layers of a small random
# model, with the exponent of each (the slope of a line through the logarithms).
#
#   scripts/scaling.sh [OPTIONS OF spg bench...]          such as --dtype bf16
#
# Environment: SPG (target/release/spg). Takes some minutes on two cores.
set -euo pipefail

spg=${SPG:-$(dirname "$0")/../target/release/spg}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# model LAYERS: a folder with the config.json of a model of that depth
model() {
    local dir="$scratch/$1"
    mkdir -p "$dir"
    cat > "$dir/config.json" << JSON
{"architectures": ["LLaDAModelLM"], "model_type": "llada", "d_model": 128, "n_heads": 4, "n_kv_heads": 4,
 "n_layers": $1, "mlp_hidden_size": 384, "vocab_size": 2048, "embedding_size": 2048, "max_sequence_length": 2048,
 "mask_token_id": 2047, "eos_token_id": 1, "rope": true, "rope_theta": 500000.0, "rms_norm_eps": 1e-5,
 "layer_norm_type": "rms", "activation_type": "silu", "block_type": "llama", "weight_tying": false,
 "include_bias": false}
JSON
    echo "$dir"
}

# measure CANVAS BATCH LAYERS OPTIONS...: seconds of a denoising step and of an update, MiB of each
measure() {
    local canvas=$1 batch=$2 layers=$3
    shift 3
    local run=("$spg" bench --model "$(model "$layers")" --random-init --rank 8 --prompt 32 --gen "$canvas"
        --block "$canvas" --steps 4 --batch "$batch" --json "$@")
    local rollout update
    rollout=$("${run[@]}" --rollout)
    update=$("${run[@]}" --train 3)
    field() { sed -n "s/.*\"$2\":\([0-9.e-]*\).*/\1/p" <<< "$1"; }
    echo "$(field "$rollout" rollout_s) $(field "$rollout" peak_memory_mib)" \
        "$(field "$update" train_step_s) $(field "$update" peak_memory_mib)"
}

# table NAME VALUES -- OPTIONS: a row a value; $value stands for it in CANVAS, BATCH and LAYERS
table() {
    local name=$1 values=$2 canvas=$3 batch=$4 layers=$5
    shift 5
    for value in $values; do
        echo "$value $(measure "$(eval echo "$canvas")" "$(eval echo "$batch")" "$(eval echo "$layers")" "$@")"
    done | awk -v name="$name" '
        BEGIN { printf "%-8s %12s %12s %12s %12s\n", name, "rollout s", "MiB", "update s", "MiB" }
        {
            printf "%-8d %12.4f %12.1f %12.4f %12.1f\n", $1, $2 / 4, $3, $4, $5
            x = log($1); n++; sx += x; sxx += x * x
            for (i = 2; i <= 5; i++) { y = log($i); sy[i] += y; sxy[i] += x * y }
        }
        END {
            printf "%-8s", "exponent"
            for (i = 2; i <= 5; i++) printf " %12.2f", (n * sxy[i] - sx * sy[i]) / (n * sxx - sx * sx)
            print "\n"
        }'
}

echo "a denoising step of the rollout, an update with two masks a completion; width 128, vocabulary 2048, prompt 32"
echo
# shellcheck disable=SC2016 # expanded for every value
table canvas "64 128 256 512 1024" '$value' 4 4 "$@"
# shellcheck disable=SC2016
table batch "1 4 16 64" 128 '$value' 4 "$@"
# shellcheck disable=SC2016
table layers "4 8 16 32" 128 4 '$value' "$@"
