#!/bin/bash
# A run on several machines by SLURM: sbatch --nodes 2 examples/clusters/slurm.sh RECIPE OUT [--tp 2 ...]
# RECIPE, OUT and the environment that is active have to be on a disk that all machines see.
#SBATCH --job-name=truing
#SBATCH --ntasks-per-node=1
#SBATCH --signal=TERM@120
#SBATCH --requeue
# TERM@120: two minutes before its time is up the run saves the step it is at. --requeue: the same command goes on.
set -eu
recipe=$1 out=$2
shift 2
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
# One process for each GPU; on machines without any, PER_MACHINE says how many.
per_machine=${PER_MACHINE:-${SLURM_GPUS_ON_NODE:-1}}
# A store of its own for each start of the processes: where an agent is new, torch 2.13 waits in vain for the shared one.
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
exec srun --kill-on-bad-exit=1 torchrun \
    --nnodes "$SLURM_NNODES" --nproc-per-node "$per_machine" \
    --rdzv-id "$SLURM_JOB_ID" --rdzv-backend c10d --rdzv-endpoint "$first:${PORT:-29500}" \
    --max-restarts 3 \
    -m truing run "$recipe" --out "$out" "$@"
