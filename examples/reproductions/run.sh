#!/usr/bin/env bash
# The comparisons of this folder, from nothing: examples/reproductions/run.sh [PART...], by default all parts in the order
# below. Runs that are there are kept, broken ones are gone on with. The reports of a part are copied beside this script.
#
#   SPG   the binary, target/release/spg by default        OUT   where the runs go, runs/reproductions by default
#   JOBS  runs at once, 3 by default, one for each seed, which share the cores
set -euo pipefail
cd "$(dirname "$0")/../.."
spg=${SPG:-target/release/spg}
out=${OUT:-runs/reproductions}
jobs=${JOBS:-3}
here=examples/reproductions
parts=(rates methods masks bounds pull variance decoding sudoku)

# A sweep on the small model that knows too little.
sweep() {
    local part=$1
    shift
    "$spg" sweep --config configs/countdown-novice.toml --output-dir "$out/$part" --jobs "$jobs" "$@"
}

# What all methods share; everything else is as published, but that no method masks the prompt (a masked number cannot be
# guessed), which two have to be told.
shared=(--set 'algorithm.*.num_generations=8' --set 'algorithm.*.num_iterations=2')
grid_of() {
    echo "--grid algorithm=$1"
    case $1 in d1 | wd1) echo '--grid algorithm.*.p_mask_prompt=0' ;; esac
}

# The best learning rate of a point of the part `rates`: the largest held-out reward at the end, sampling.
rate() {
    python3 "$here/best_rate.py" "$out/rates/report.csv" "$1"
}

# Eight samples of every held-out problem, so that what differs is the policy and not the luck of the draw.
measured=("${shared[@]}" --seeds 1,2,3 --set eval.temperatures='[0.9]' --set eval.num_samples=8 --set eval.eval_steps=50)

rates() { # every method at the same rates, with a seed that is used for nothing else
    local at=("${shared[@]}" --grid train.learning_rate=3e-5,1e-4,3e-4,1e-3 --seeds 0)
    sweep rates "${at[@]}" --grid algorithm.spg.negative_estimator=mix,zero,elbo,eubo
    sweep rates "${at[@]}" --grid algorithm.spg.forward_type=random
    sweep rates "${at[@]}" --grid algorithm.spg.scope=block
    for method in d1 wd1 unigrpo; do
        sweep rates "${at[@]}" $(grid_of $method)
    done
}

methods() { # (a) and (b), Figures 3 and 4 of the paper
    local at=("${measured[@]}")
    for estimator in mix eubo elbo zero; do
        sweep methods "${at[@]}" --grid algorithm.spg.negative_estimator=$estimator \
            --grid train.learning_rate="$(rate negative_estimator=$estimator)"
    done
    for method in d1 wd1 unigrpo; do
        sweep methods "${at[@]}" $(grid_of $method) --grid train.learning_rate="$(rate algorithm=$method)"
    done
}

bounds() { # (c), Figure 5: order and weight of the upper bound; 1.5 and 0, 0.5, 1 are in the part before
    local at=("${measured[@]}" --set train.learning_rate="$(rate negative_estimator=mix)")
    sweep bounds "${at[@]}" --grid algorithm.spg.beta=1,2
    sweep bounds "${at[@]}" --grid algorithm.spg.mix_weight=0.25,0.75
}

masks() { # (d) and (e): random tokens instead of blocks, the block alone instead of all that is masked
    for point in forward_type=random scope=block; do
        sweep masks "${measured[@]}" --grid algorithm.spg.$point --grid train.learning_rate="$(rate $point)"
    done
}

still=(--set train.learning_rate=1e-12 --set train.lr_scheduler_type=constant --set eval.eval_steps=0)

pull() { # why the upper bound destroys a policy: gradients of good and bad completions at a fixed policy, and real runs
    local tiny=("$spg" sweep --config configs/countdown-tiny.toml --jobs "$jobs")
    local grid=(--grid algorithm.spg.negative_estimator=elbo,eubo)
    local blocks=(--grid algorithm.spg.forward_type=block_random --grid algorithm.spg.scope=all_masked,block)
    local random=(--grid algorithm.spg.forward_type=random --grid algorithm.spg.scope=all_masked)
    local look=("${still[@]}" --set train.gradient_parts_steps=1 --set train.prompts_per_step=1024 --set train.max_steps=2
        --set train.save_steps=2)
    "${tiny[@]}" --output-dir "$out/pull-at-start" "${look[@]}" "${grid[@]}" "${blocks[@]}"
    "${tiny[@]}" --output-dir "$out/pull-at-start" "${look[@]}" "${grid[@]}" "${random[@]}"
    "${tiny[@]}" --output-dir "$out/pull" "${grid[@]}" "${blocks[@]}" --seeds 1,2,3
    "${tiny[@]}" --output-dir "$out/pull" "${grid[@]}" "${random[@]}" --seeds 1,2,3
    mkdir -p "$here/pull"
    python3 "$here/means.py" "$out/pull-at-start" grad_norm/positive grad_norm/negative grad_cosine >"$here/pull/start.md"
    python3 "$here/means.py" "$out/pull" --last 40 reward bound/positive bound/negative grad_norm entropy >"$here/pull/end.md"
}

sudoku() { # the estimators on the model that hides what it knows, with enough held-out puzzles to tell them apart
    "$spg" sweep --config configs/sudoku-tiny.toml --output-dir "$out/sudoku" --jobs "$jobs" --seeds 1,2,3 \
        --set train.max_steps=240 --set train.save_steps=240 --set task.sudoku.puzzles_per_eval_grid=12 \
        --set eval.temperatures='[0.9]' --grid algorithm.spg.negative_estimator=mix,zero,elbo,eubo
}

variance() { # (g): how much the gradient of the same completions at the same policy varies with the masks
    local at=("${still[@]}" --set 'algorithm.*.num_iterations=64' --set train.max_steps=64
        --set train.save_steps=64 --set train.max_grad_norm=0 --set train.adam_beta1=0.9999 --set train.adam_beta2=0.9999)
    sweep variance --seeds 1,2,3 "${at[@]}" --grid algorithm.spg.negative_estimator=zero
    sweep variance --seeds 1,2,3 "${at[@]}" --grid algorithm.spg.mix_weight=0,0.25,0.5,0.75,1
    mkdir -p "$here/variance"
    python3 "$here/variance.py" "$out/variance" >"$here/variance/table.md"
}

decoding() { # (f): the policies of the part `methods` under decoding that they were not trained with
    mkdir -p "$here/decoding"
    local at=(--temperature 0 --set eval.num_samples=1 --set eval.remasking='["low_confidence","margin","neg_entropy","random"]'
        --set eval.order='["block","canvas"]')
    for point in negative_estimator=mix negative_estimator=zero algorithm=d1 algorithm=wd1 algorithm=unigrpo; do
        local base=()
        [ $point != negative_estimator=mix ] || base=(--base)
        echo "$point"
        "$spg" eval --ckpt "$out/methods/$point",*seed=1 "${base[@]}" "${at[@]}" --output-dir "$out/decoding/$point"
    done | tee "$here/decoding/table.txt"
}

main() {
    [ $# -gt 0 ] || set -- "${parts[@]}"
    for part in "$@"; do
        case " ${parts[*]} " in *" $part "*) ;; *) echo "no part $part: there are ${parts[*]}" >&2 && exit 2 ;; esac
    done
    for part in "$@"; do
        SECONDS=0
        mkdir -p "$out"
        "$part"
        echo "$part: $SECONDS s" | tee -a "$out/seconds.txt"
        # the curves of a policy that stands still are of no use
        if [ -f "$out/$part/report.md" ] && [ "$part" != variance ]; then
            mkdir -p "$here/$part"
            cp "$out/$part"/report.md "$out/$part"/report.csv "$out/$part"/*.svg "$here/$part/"
        fi
    done
}

main "$@"
exit
