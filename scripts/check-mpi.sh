#!/usr/bin/env bash
# Several processes under mpirun: the same completions and weights as one, and what happens when any of them is stopped,
# killed, or fails. The program has to be built with --features mpi. Prints what was tried and what held.
#
#   scripts/check-mpi.sh [N]       N kills of a random process at a random instant (3)
#
# Environment: SPG (target/release/spg), SEED (1).
set -euo pipefail
cd "$(dirname "$0")/.."

spg=$(realpath "${SPG:-target/release/spg}")
n=${1:-3}
RANDOM=${SEED:-1}
export SPG_DEVICE=cpu RAYON_NUM_THREADS=1
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
scratch=$(mktemp -d)
lost=0

disk=$scratch/disk
mkdir "$disk"

leave() {
    if mountpoint -q "$disk"; then umount "$disk"; fi
    if [[ $lost == 0 ]]; then rm -rf "$scratch"; else echo "what was lost is kept in $scratch"; fi
}
trap leave EXIT

ranks() {
    local size=$1
    shift
    timeout -k 5 300 mpirun -n "$size" --oversubscribe --bind-to none "$@"
}

settings=(--set train.prompts_per_step=4 --set algorithm.spg.num_generations=3 --set train.max_steps=8 --set train.save_steps=2
    --set train.log_completions=true --set eval.limit=5 --set eval.eval_steps=4)

# train SIZE FOLDER [MORE...]: begins or goes on.
train() {
    local size=$1 run=$2 resume=()
    shift 2
    if [[ -f $run/config.toml ]]; then resume=(--resume); fi
    ranks "$size" "$spg" train --config configs/sudoku-tiny.toml --output-dir "$run" "${resume[@]}" -q "${settings[@]}" "$@"
}

weights() { (cd "$1" && sha256sum checkpoint-8/*.safetensors); }
completions() { (cd "$1" && sha256sum completions/*.parquet); }
figures() { sed -E 's/"([^"]*(seconds|per_second)|world\/[a-z]*)":[^,}]*,?//g' "$1/metrics.jsonl"; }
result() { weights "$1" && completions "$1" && figures "$1"; }

# held WHAT CONDITION...
held() {
    local what=$1
    shift
    if "$@"; then printf '%-62s held\n' "$what"; else printf '%-62s LOST\n' "$what"; lost=1; fi
}
same() { diff <("$1" "$2") <("$1" "$3") > /dev/null; }

for order in running tree; do
    for size in 1 2 3 4; do
        train "$size" "$scratch/$order-$size" --set train.gradient_sum=$order > /dev/null
    done
    for size in 2 3 4; do
        one=$scratch/$order-1 many=$scratch/$order-$size
        held "$order, $size processes: the completions of one" same completions "$many" "$one"
        if [[ $order == tree ]]; then held "tree, $size processes: the bytes of one" same result "$many" "$one"; fi
    done
done

tree=(--set train.gradient_sum=tree)
sft=(sft --config configs/sudoku-tiny-sft.toml --set train.max_steps=3 --set sft.batch_size=6 --set train.micro_batch_size=2
    --set eval.limit=3 -q "${tree[@]}")
for size in 1 3; do ranks "$size" "$spg" "${sft[@]}" --output-dir "$scratch/sft-$size" > /dev/null; done
held "sft, 3 processes: the bytes of one" cmp -s "$scratch"/sft-{1,3}/checkpoint-3/model.safetensors

for size in 1 2; do
    ranks "$size" "$spg" eval --ckpt "$scratch/tree-1" --limit 7 --temperature 0.9 --samples 2 -q --output-dir "$scratch/eval-$size" > /dev/null
done
samples() { cat "$1"/*/samples_*.jsonl; }
held "eval, 2 processes: the samples of one" same samples "$scratch/eval-2" "$scratch/eval-1"

# The processes of a job, by the folder they write to.
workers() { pgrep -f "^$spg train .*$1 " | sort; }

# A process gets a signal at a random instant; all end within ten seconds; another number goes on to the same bytes.
fault() {
    local signal=$1 run=$2 size=$3 began pids
    (train "$size" "$run" "${tree[@]}" > "$run.log" 2>&1) &
    local job=$!
    for ((j = 0; j < 200; j++)); do
        if [[ $(workers "$run" | wc -l) == "$size" ]]; then break; fi
        sleep 0.02
    done
    sleep "$(printf '%d.%02d' $((RANDOM % 3)) $((RANDOM % 100)))"
    mapfile -t pids < <(workers "$run")
    if ((${#pids[@]})); then kill -s "$signal" "${pids[RANDOM % ${#pids[@]}]}" 2> /dev/null || true; fi
    began=$SECONDS
    wait "$job" || true
    local took=$((SECONDS - began)) left
    left=$(workers "$run" | wc -l)
    train $((RANDOM % 3 + 1)) "$run" "${tree[@]}" > "$run.log2" 2>&1 || return 1
    ((took <= 10 && left == 0)) && same result "$run" "$scratch/tree-1"
}

for signal in KILL TERM; do
    survived=0
    for ((i = 0; i < n; i++)); do
        run=$scratch/$signal-$i
        if fault "$signal" "$run" $((RANDOM % 2 + 2)); then survived=$((survived + 1)) && rm -rf "$run"*; fi
    done
    held "$signal to one of 2 or 3 processes, $n times: $survived went on" test "$survived" == "$n"
done

# One process has other keys: it is named, and nothing is written.
differs() {
    local run=$scratch/differs
    local spoiled='if [[ $OMPI_COMM_WORLD_RANK == 1 ]]; then set -- "$@" --set train.learning_rate=0.5; fi; exec "$@"'
    ranks 2 bash -c "$spoiled" - "$spg" train --config configs/sudoku-tiny.toml --output-dir "$run" -q > "$run.log" 2>&1 && return 1
    grep -q "^process 1: error: train.learning_rate is 0.5 here" "$run.log" && [[ ! -e $run ]]
}
held "a process with another configuration is named" differs

# The first process finds its disk full: the others learn it, and with more room the run goes on to the same bytes.
full() {
    local run=$disk/run log=$scratch/full.log began=$SECONDS
    train 2 "$run" "${tree[@]}" > "$log" 2>&1 && return 1
    ((SECONDS - began < 60)) && grep -q "^process 0: error: .*" "$log" && grep -q "No space left" "$log" || return 1
    mount -o remount,size=100m "$disk"
    train 3 "$run" "${tree[@]}" > "$log" 2>&1 && same result "$run" "$scratch/tree-1"
}
if mount -t tmpfs -o size=3500k tmpfs "$disk" 2> /dev/null; then held "the disk of the first of 2 processes is full" full; fi

refuses() { ! ranks 2 "$spg" merge --ckpt x --out y > "$scratch/merge.log" 2>&1 && grep -q "share their work" "$scratch/merge.log"; }
held "commands for one process are refused to several" refuses

exit $lost
