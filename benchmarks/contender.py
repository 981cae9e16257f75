"""One contender of `benchmarks.speed` in a process of its own: an epoch for every line it reads.

A process of its own, because `ltkd` sets the process up for training (the C library keeps
freed memory), and the plain loop it is compared with does not.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Self

import torch


class Contender:
    """A context manager whose call runs one epoch in the other process and waits for its end."""

    def __init__(self, *arguments: str) -> None:
        self.command = [sys.executable, "-m", "benchmarks.contender", *arguments]

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self._wait("ready")
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()
        self.process.wait()

    def __call__(self) -> None:
        self.process.stdin.write("epoch\n")
        self._wait("done")

    def _wait(self, word: str) -> None:
        if self.process.stdout.readline().strip() != word:
            raise RuntimeError(f"{' '.join(self.command)} ended early")


def main() -> None:
    """Prepares the epoch, then runs it once for every line on stdin."""
    epoch = prepared(parse())
    print("ready", flush=True)
    for _ in sys.stdin:
        epoch()
        print("done", flush=True)


def prepared(arguments: argparse.Namespace) -> Callable[[], None]:
    """The function that runs one epoch of the contender."""
    from benchmarks import epochs, online
    from ltkd_cli import devices
    from ltkd_cli.cache import Cache
    from ltkd_cli.events import Warned
    from ltkd_cli.training.compiling import compile_network

    images = epochs.random_images(arguments.images)
    if arguments.kind == "online":
        device = devices.choose_device(arguments.device)
        pixels = images.images.resident
        assert pixels is not None
        student, teacher = epochs.network(arguments.student), epochs.network(arguments.teacher)
        return online.epoch(
            student, teacher, pixels, images.labels, epochs.BATCH, torch.device(device), workers=2
        )
    device = devices.open_device(arguments.device)
    cache = Cache.open(arguments.cache)
    training, loader = epochs.training_of(images, cache, "kd", arguments.student, device)
    precision = devices.choose_precision(arguments.precision, device)
    if arguments.compile:
        event = compile_network(training, loader, epochs.RECIPE, precision)
        if isinstance(event, Warned):
            raise SystemExit(event.text)
    return lambda: epochs.train_epoch(training, loader, precision)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("kind", choices=["online", "cache"])
    parser.add_argument("--student", required=True)
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--compile", action="store_true", help="as `ltkd distill --compile` does")
    parser.add_argument("--images", type=int, required=True)
    parser.add_argument("--device", required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
