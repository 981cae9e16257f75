"""What bfloat16 costs in accuracy: the same students by bkd, seed by seed, in both precisions.

    python -m benchmarks.precision --data PATH/TO/FOLDER --student resnet20 --epochs 20

Takes the teachers and caches of `benchmarks.cifar10_lt` (makes them where they are missing),
trains every seed in float32 and in bfloat16, and prints the differences with their interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from benchmarks import cifar10_lt as table
from benchmarks import timing
from benchmarks.cifar10_lt import SPLITS, Settings
from ltkd_cli.evaluate import interval_over_seeds

PRECISIONS = ("float32", "bfloat16")


def main() -> None:
    """Reads the command line, trains what is missing and prints the table."""
    settings, arguments = table.read_settings(__doc__)
    if not arguments.table_only:
        fill(settings, arguments.seeds)
    pairs = [found for seed in arguments.seeds if (found := pair(settings, seed))]
    print_differences(pairs)
    if arguments.output:
        kept = [{name: table.summary(record) for name, record in each.items()} for each in pairs]
        timing.write(arguments.output, kept)


def fill(settings: Settings, seeds: Sequence[int]) -> None:
    """Trains, exports and trains again, whatever is missing."""
    table.in_parallel(settings, [table.teach(settings, "ce", seed) for seed in seeds])
    table.in_parallel(settings, [table.export(settings, "ce", seed) for seed in seeds])
    commands = [distill(settings, name, seed) for seed in seeds for name in PRECISIONS]
    table.in_parallel(settings, commands)


def distill(settings: Settings, precision: str, seed: int) -> list[str]:
    """The command of one student; empty when it is done."""
    row = table.student("bkd", *table.DEFERRED, teachers=("ce",))
    own = replace(
        row, name=f"bkd {precision}", arguments=(*row.arguments, "--precision", precision)
    )
    return table.cell(settings, own, seed)


def pair(settings: Settings, seed: int) -> dict[str, dict[str, Any]] | None:
    """The records of both students of a seed; None before both are trained."""
    found = {name: table.finished(settings, f"bkd-{name}-{seed}") for name in PRECISIONS}
    records = {name: record for name, record in found.items() if record}
    return records if len(records) == len(PRECISIONS) else None


def print_differences(pairs: Sequence[dict[str, dict[str, Any]]]) -> None:
    """Accuracy in bfloat16 less that in float32, in points: mean over seeds and 95 % interval."""
    print(f"bfloat16 - float32, {len(pairs)} seeds\n\n| | difference in points |\n|---|---|")
    for split in SPLITS:
        points = [
            100 * (accuracy(p["bfloat16"], split) - accuracy(p["float32"], split)) for p in pairs
        ]
        mean, low, high = interval_over_seeds(points)
        interval = "" if low is None else f" [{low:+.1f}, {high:+.1f}]"
        print(f"| {split} | {mean:+.1f}{interval} |")


def accuracy(record: dict[str, Any], split: str) -> float:
    """Test accuracy of a run, in [0, 1]."""
    return float(record["scores"][split]["accuracy"])


if __name__ == "__main__":
    main()
