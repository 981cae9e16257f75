"""From Enter to the first training step: `ltkd distill` on CIFAR-10-LT, as a user sees it.

The images lie in a folder and are decoded before the clock starts. The cache is that of a
ResNet-8 teacher of one epoch, one view of each image: a start opens a cache and does not read
it, so neither its size nor what it holds matters here.
"""

from __future__ import annotations

import os
import pty
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

FIRST_STEP = b"epoch 1/"
"""What the progress line says once a step is taken."""


def seconds_to_first_step(folder: Path, rounds: int) -> list[float]:
    """Seconds of each round, after one round of warm-up; all in a folder that is removed."""
    with tempfile.TemporaryDirectory() as work:
        environment = {
            **os.environ,
            "LTKD_RUNS": f"{work}/runs",
            "LTKD_CACHE_DIR": f"{work}/decoded",
            "TERM": "xterm-256color",
            "COLUMNS": "100",
        }
        images = ("--data", str(folder.resolve()), "--imbalance", "100")
        prepare(images, environment)
        distill = command("distill", *images, "--model", "resnet32", "--epochs", "200")
        return [first_step(distill, environment) for _ in range(rounds + 1)][1:]


def spread(seconds: list[float]) -> dict[str, float]:
    """Median, lowest and highest."""
    return {"median": statistics.median(seconds), "low": min(seconds), "high": max(seconds)}


def prepare(images: tuple[str, ...], environment: Mapping[str, str]) -> None:
    """Decodes the images, trains a teacher for an epoch and writes its cache."""
    teach = command("teach", *images, "--model", "resnet8", "--epochs", "1")
    for step in (teach, command("export-logits", "--views", "1")):
        subprocess.run(step, check=True, env=environment, stdout=subprocess.DEVNULL)


def first_step(arguments: list[str], environment: Mapping[str, str]) -> float:
    """Seconds until the command, in a terminal of its own, shows a step; then it is stopped."""
    screen, terminal = pty.openpty()
    started = time.perf_counter()
    process = subprocess.Popen(
        arguments, stdin=terminal, stdout=terminal, stderr=terminal, env=environment
    )
    os.close(terminal)
    try:
        shown = b""
        while FIRST_STEP not in shown:
            more = read(screen)
            if not more:
                raise RuntimeError(f"no step was shown:\n{shown.decode(errors='replace')}")
            shown += more
        seconds = time.perf_counter() - started
        process.send_signal(signal.SIGINT)
        while read(screen):  # or the terminal fills up and the command waits for ever
            pass
        return seconds
    finally:
        process.kill()  # where it has not ended by itself
        process.wait()
        os.close(screen)


def read(screen: int) -> bytes:
    """What is new on the screen; nothing once the command has ended."""
    try:
        return os.read(screen, 1 << 16)
    except OSError:  # Linux says so in this way
        return b""


def command(*arguments: str) -> list[str]:
    """The command line of `ltkd`."""
    return [sys.executable, "-m", "ltkd_cli", *arguments]
