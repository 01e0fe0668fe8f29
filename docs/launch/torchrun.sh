#!/usr/bin/env bash
# A search on all GPUs of one machine: docs/launch/torchrun.sh configs/cifar10_darts.yaml runs/mine
# On several machines, on each of them with its number: NODES=2 NODE=0 HEAD=host0 docs/launch/torchrun.sh ...
set -eu
config=$1 run=$2
gpus=${GPUS:-$(nvidia-smi --list-gpus | wc -l)}
# The two dashes end the options of torchrun itself.
exec torchrun --nnodes "${NODES:-1}" --node_rank "${NODE:-0}" --nproc_per_node "$gpus" \
    --master_addr "${HEAD:-127.0.0.1}" --master_port "${PORT:-29500}" -m -- \
    robustnas fit -c "$config" --run-dir "$run" --trainer.devices "$gpus" --trainer.num_nodes "${NODES:-1}" --ckpt_path auto
