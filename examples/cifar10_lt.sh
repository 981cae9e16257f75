#!/usr/bin/env bash
# Every method on CIFAR-10-LT by the published protocol: imbalance 100, ResNet-32 as teacher and
# student, the ldam recipe (200 epochs), three seeds, last epoch. Made for a GPU; stop it at any
# time, finished cells are not run again. Further options go to the script, for instance
#   bash examples/cifar10_lt.sh --data PATH/TO/IMAGE/FOLDER --methods kd,bkd,dive
#   bash examples/cifar10_lt.sh --student resnet20 --epochs 20 --seeds 0,1 --workers 2   # two cores
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${PYTHON:-.venv/bin/python}" -m benchmarks.cifar10_lt --data cifar10-lt --data-root data "$@"
