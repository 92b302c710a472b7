#!/bin/bash
# Two nodes of four GPUs, one process a GPU. Five minutes before the end of its time every process is warned (USR1): all stop
# at the same update and save. Exit code 75 says so, and the job goes back into the queue; --resume goes on where it was.
#SBATCH --job-name=gsm8k
#SBATCH --nodes=2 --ntasks-per-node=4 --gpus-per-node=4 --cpus-per-task=8
#SBATCH --time=12:00:00 --signal=USR1@300 --requeue --open-mode=append

run=$SLURM_SUBMIT_DIR/runs/gsm8k
resume=()
if [[ -f $run/config.toml ]]; then resume=(--resume); fi
# a process that ends with an error ends the others
srun --mpi=pmix --kill-on-bad-exit=1 spg train --config gsm8k --output-dir "$run" "${resume[@]}"
code=$?
if [[ $code == 75 ]]; then scontrol requeue "$SLURM_JOB_ID"; fi
exit $code
