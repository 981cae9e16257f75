#!/usr/bin/env bash
# The published protocol on CIFAR-10-LT, imbalance 100: ResNet-32 teachers and students, each row by
# the recipe of its published figure, 200 epochs. Stop it at any time; it goes on where it stopped.
# CIFAR-10 must lie in data/: ltkd data cifar10-lt --data-root data --download fetches it.
# A training takes a processor core two to four and a half hours. Further options go to the script,
# for instance (without --output, ltkd eval --runs runs-cifar10-lt shows the scores)
#   bash examples/cifar10_lt.sh --rows bkd,dive --seeds 0 --workers 2 --output TABLE.json
#   bash examples/cifar10_lt.sh --short --runs runs-short --workers 2   # 30 epochs, all methods
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${PYTHON:-.venv/bin/python}" -m benchmarks.cifar10_lt --data cifar10-lt --data-root data "$@"
