#!/usr/bin/env bash
# What a run survives: kills at random instants and at chosen system calls, signals, full disks, torn checkpoints, two
# writers, a folder that vanishes. After every fault the run is gone on with, and must end with the very bytes of a run that
# was left alone. Prints tried / survived; ends with 1 if anything was lost.
#
#   scripts/faults.sh [N]          N faults of every kind (20); a minute for every ten or so on two cores
#
# Environment: SPG (target/release/spg), SEED (1). Kills at system calls need strace, full disks a tmpfs (root).
set -euo pipefail
cd "$(dirname "$0")/.."

spg=$(realpath "${SPG:-target/release/spg}")
n=${1:-20}
seed=${SEED:-1}
RANDOM=$seed
export SPG_DEVICE=cpu
scratch=$(mktemp -d)
disk=$scratch/disk
mkdir "$disk"
lost=0

leave() {
    if mountpoint -q "$disk"; then umount "$disk"; fi
    if [[ $lost == 0 ]]; then rm -rf "$scratch"; else echo "what was lost is kept in $scratch"; fi
}
trap leave EXIT

# start FOLDER [PREFIX...]: begins or goes on with the run in a folder; the rest stands before the program.
start() {
    local run=$1 resume=()
    shift
    if [[ -f $run/config.toml ]]; then resume=(--resume); fi
    exec "$@" "$spg" train --config configs/sudoku-tiny.toml --output-dir "$run" "${resume[@]}" -q \
        --set train.prompts_per_step=2 --set algorithm.spg.num_generations=3 --set train.max_steps=8 \
        --set train.save_steps=2 --set train.log_completions=true --set eval.limit=2 --set eval.eval_steps=4 \
        --set train.metric_for_best_model=t0.9/reward --set train.save_total_limit=2
}

# What must be the same: weights, the best ones, figures without what depends on the clock, and what was written.
result() {
    (
        cd "$1"
        sha256sum checkpoint-8/*.safetensors best/*.safetensors completions/*.parquet 2>&1
        sed -E 's/"[^"]*(seconds|per_second)":[^,}]*,?//g' metrics.jsonl
    )
}

# good FOLDER: goes on to the end, within bounds, and compares.
good() {
    local run=$1 log=$1.log
    if ! (ulimit -v 8000000 && start "$run" timeout 60) > "$log" 2>&1; then
        sed 's/^/    /' "$log" | tail -n 3
        return 1
    fi
    ! grep -q panicked "$log" && diff <(result "$run") "$scratch/expected" > "$log.diff"
}

# table NAME TRIED SURVIVED
table() {
    printf '%-34s %5d tried %5d survived\n' "$1" "$2" "$3"
    if [[ $2 != "$3" ]]; then lost=1; fi
}

(start "$scratch/whole") > /dev/null
result "$scratch/whole" > "$scratch/expected"
began=$(date +%s%N)
(start "$scratch/timed") > /dev/null
lasts=$((($(date +%s%N) - began) / 1000000))
diff <(result "$scratch/timed") "$scratch/expected" >&2 || { echo "error: two runs that were left alone differ" >&2; exit 1; }

killed=0
for ((i = 0; i < n; i++)); do
    run=$scratch/kill-$i
    { (start "$run" timeout -s KILL "$(printf '0.%03d' $((RANDOM % (lasts > 999 ? 999 : lasts))))"); } > /dev/null 2>&1 || true
    { (start "$run" timeout -s KILL "$(printf '0.%03d' $((RANDOM % 999)))"); } > /dev/null 2>&1 || true
    good "$run" && killed=$((killed + 1)) && rm -rf "$run"*
done
table "kill -9 twice at random instants" "$n" "$killed"

stopped=0
for ((i = 0; i < n; i++)); do
    run=$scratch/signal-$i
    signals=(INT TERM HUP USR1)
    { (start "$run" timeout -s "${signals[i % 4]}" "$(printf '0.%03d' $((RANDOM % 999)))"); } > /dev/null 2>&1 || true
    good "$run" && stopped=$((stopped + 1)) && rm -rf "$run"*
done
table "signals" "$n" "$stopped"

if command -v strace > /dev/null; then
    calls=0
    kinds=(rename fsync unlinkat mkdir ftruncate write openat)
    for ((i = 0; i < n; i++)); do
        run=$scratch/call-$i
        kind=${kinds[i % ${#kinds[@]}]}
        case $kind in
            write) when=$((RANDOM % 300 + 1)) ;;
            openat) when=$((RANDOM % 200 + 60)) ;;
            *) when=$((RANDOM % 20 + 1)) ;;
        esac
        { (start "$run" strace -f -qqq -o /dev/null -e trace="$kind" -e inject="$kind:signal=KILL:when=$when"); } \
            > /dev/null 2>&1 || true
        good "$run" && calls=$((calls + 1)) && rm -rf "$run"*
    done
    table "kill -9 at system calls" "$n" "$calls"
fi

# damage KIND FILE
damage() {
    local size
    size=$(stat -c %s "$2")
    case $1 in
        truncated) truncate -s $((size * 2 / 3)) "$2" ;;
        deleted) rm "$2" ;;
        empty) truncate -s 0 "$2" ;;
        older) cp "${2/checkpoint-4/checkpoint-2}" "$2" ;;
        flipped)
            local at=$((RANDOM * RANDOM % size)) byte
            byte=$(od -An -tu1 -j "$at" -N 1 "$2")
            printf '%b' "\\x$(printf %x $((byte ^ (1 << RANDOM % 8))))" | dd of="$2" bs=1 seek="$at" conv=notrunc status=none
            ;;
        zeroed) dd if=/dev/zero of="$2" bs=1 seek=$((size / 2)) count=$((size / 4)) conv=notrunc status=none ;;
    esac
}

(start "$scratch/torn" env) > /dev/null 2>&1 &
while [[ ! -d $scratch/torn/checkpoint-4 ]]; do
    kill -0 $! 2> /dev/null || { echo "error: the run to be torn ended before its second checkpoint" >&2; exit 1; }
    sleep 0.005
done
kill -KILL $! 2> /dev/null || true
{ wait; } 2> /dev/null || true
rm -rf "$scratch"/torn/checkpoint-6 "$scratch"/torn/checkpoint-8
whole=0
for ((i = 0; i < n; i++)); do
    run=$scratch/torn-$i
    cp -r "$scratch/torn" "$run"
    kinds=(truncated deleted empty older flipped zeroed)
    files=(adapter_model.safetensors optimizer.safetensors trainer_state.json adapter_config.json manifest.json)
    file=$run/checkpoint-4/${files[i / 6 % 5]}
    damage "${kinds[i % 6]}" "$file"
    good "$run" && whole=$((whole + 1)) && rm -rf "$run"*
done
table "torn newest checkpoints" "$n" "$whole"

alone=0
for ((i = 0; i < n; i++)); do
    run=$scratch/two-$i
    if ((i % 2)); then cp -r "$scratch/torn" "$run"; fi
    (start "$run") > "$run.first" 2>&1 &
    first=$!
    (start "$run") > "$run.second" 2>&1 &
    second=$!
    ended=0
    wait "$first" && ended=$((ended + 1))
    wait "$second" && ended=$((ended + 1))
    # on a busy machine the second may come when the first is done, and has nothing to do and to say
    [[ $ended == 1 || ! -s $run.first || ! -s $run.second ]] && good "$run" && alone=$((alone + 1)) && rm -rf "$run"*
done
table "two processes on one folder" "$n" "$alone"

if [[ $(id -u) == 0 ]] && mount -t tmpfs -o size=64k tmpfs "$disk" 2> /dev/null; then
    full=0
    for ((i = 0; i < n; i++)); do
        mount -o remount,size=$((RANDOM % 9000 + 20))k "$disk"
        run=$disk/run
        (start "$run" timeout 60) > "$scratch/full.log" 2>&1 || true
        mount -o remount,size=100m "$disk"
        ! grep -q panicked "$scratch/full.log" && good "$run" && full=$((full + 1))
        rm -rf "${run:?}"*
    done
    umount "$disk"
    table "full disks" "$n" "$full"
fi

gone=0
for ((i = 0; i < n; i++)); do
    run=$scratch/gone-$i
    (start "$run" timeout 60) > "$run.log" 2>&1 &
    sleep "$(printf '0.%03d' $((RANDOM % 999)))"
    rm -rf "$run" 2> /dev/null || rm -rf "$run"
    code=0
    wait $! || code=$?
    # it may have been at its end already; else it says what cannot be read or written
    if [[ $code == 0 ]] || { [[ $code == 1 ]] && grep -q '^error: ' "$run.log"; }; then gone=$((gone + 1)); fi
done
table "folders that vanish" "$n" "$gone"
exit "$lost"
