"""What speed costs in accuracy: the same students by bkd, seed by seed, with and without it.

    python -m benchmarks.fast_paths --data PATH/TO/FOLDER --student resnet20 --epochs 5 \\
        --seeds 0,1,2,3,4,5,6,7

Trains a student in float32, in bfloat16 and in bfloat16 with --compile from every seed, all from
the cache of one ce teacher (that of seed 0 of `benchmarks.cifar10_lt`, made where it is
missing), and prints the differences from float32 with their intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks import cifar10_lt as table
from benchmarks import timing
from benchmarks.cifar10_lt import SPLITS, Settings
from ltkd_cli.metrics import interval_over_seeds

PLAIN = "float32"

PATHS = {
    PLAIN: ("--precision", "float32"),
    "bfloat16": ("--precision", "bfloat16"),
    "bfloat16, compiled": ("--precision", "bfloat16", "--compile"),
}
"""Name -> what tells its students from the others."""


def main() -> None:
    """Reads the command line, trains what is missing and prints the table."""
    settings, arguments = table.read_settings(__doc__)
    if not arguments.table_only:
        fill(settings, arguments.seeds)
    found = [records for seed in arguments.seeds if (records := finished(settings, seed))]
    print_differences(found)
    if arguments.output:
        kept = [{name: table.summary(record) for name, record in each.items()} for each in found]
        timing.write(arguments.output, kept)


def fill(settings: Settings, seeds: Sequence[int]) -> None:
    """Trains the teacher, exports its cache and trains the students, whatever is missing."""
    table.in_parallel(settings, [table.teach(settings, "ce", 0)])
    table.in_parallel(settings, [table.export(settings, "ce", 0)])
    commands = [distill(settings, path, seed) for seed in seeds for path in PATHS]
    table.in_parallel(settings, commands)


def distill(settings: Settings, path: str, seed: int) -> list[str]:
    """The command of one student; empty when it is done."""
    name = run_name(path, seed)
    begin = [
        "distill", *settings.images, "--model", settings.student_model, "--method", "bkd",
        *table.DEFERRED, "--cache", str(table.cache_of(settings, "ce", 0)), *settings.recipe,
        *PATHS[path], "--seed", str(seed),
    ]  # fmt: skip
    return table.train(settings, "distill", name, begin)


def finished(settings: Settings, seed: int) -> dict[str, dict[str, Any]] | None:
    """The records of the students of a seed; None before all of them are trained."""
    found = {path: table.finished(settings, run_name(path, seed)) for path in PATHS}
    records = {path: record for path, record in found.items() if record}
    return records if len(records) == len(PATHS) else None


def run_name(path: str, seed: int) -> str:
    """Name of a student's run."""
    return f"bkd-{path.replace(', ', '-')}-{seed}"


def print_differences(found: Sequence[dict[str, dict[str, Any]]]) -> None:
    """Accuracy less that in float32, in points: mean over seeds and 95 % interval."""
    print(f"{len(found)} seeds\n\n| less {PLAIN}, in points | {' | '.join(SPLITS)} |")
    print(f"|---|{'---|' * len(SPLITS)}")
    for path in PATHS:
        if path != PLAIN:
            cells = [difference(found, path, split) for split in SPLITS]
            print(f"| {path} | {' | '.join(cells)} |")


def difference(found: Sequence[dict[str, dict[str, Any]]], path: str, split: str) -> str:
    """Mean difference of a path from float32 on a split, with its interval."""
    accuracies = [
        [100 * records[name]["scores"][split]["accuracy"] for records in found]
        for name in (path, PLAIN)
    ]
    mean, low, high = interval_over_seeds([a - b for a, b in zip(*accuracies, strict=True)])
    return f"{mean:+.1f}" if low is None else f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"


if __name__ == "__main__":
    main()
