"""Two students of ResNet-20 from one command: one after the other, and both at once.

    python -m benchmarks.at_once PATH/TO/IMAGE/FOLDER

Whole `ltkd distill --seeds` commands by turns, each of three epochs on CIFAR-10-LT (imbalance
100) by ce; what starts the processes is in it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import timing
from benchmarks.first_step import command
from ltkd_cli import devices

SEEDS = "0,1"


def main() -> None:
    """Measures, prints the ratio and writes JSON."""
    arguments = parse()
    contenders = {str(n): students(arguments.folder, n) for n in (1, 2)}
    seconds = timing.in_turn(contenders, arguments.rounds)
    found = timing.ratios(seconds, "1", "2")
    print(f"times as fast as one after the other: {found['median']:.2f}")
    results = {
        "machine": timing.machine(devices.choose_device("auto")),
        "rounds": arguments.rounds,
        "seconds": seconds,
        "ratio": found,
    }
    timing.write(arguments.output, results)
    print(f"wrote {arguments.output}")


def students(folder: Path, at_once: int) -> Callable[[], None]:
    """A function that trains the students in a folder of its own, which is removed."""

    def run() -> None:
        with tempfile.TemporaryDirectory() as work:
            environment = {**os.environ, "LTKD_RUNS": f"{work}/runs"}
            subprocess.run(
                command(
                    *("distill", "--method", "ce", "--data", str(folder), "--imbalance", "100"),
                    *("--model", "resnet20", "--epochs", "3", "--evaluate-every", "0"),
                    *("--seeds", SEEDS, "--jobs", str(at_once)),
                ),
                check=True,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )

    return run


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/at-once.json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
