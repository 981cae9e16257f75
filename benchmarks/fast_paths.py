"""What speed costs in accuracy: the same students by bkd, seed by seed, with and without it.

    python -m benchmarks.fast_paths --data PATH/TO/FOLDER --epochs 5 --seeds 0,1,2,3,4,5,6,7

Trains a ResNet-20 student in float32, in bfloat16 and in bfloat16 with --compile from every seed,
all from the cache of one ce teacher (that of seed 0 of `benchmarks.cifar10_lt --short`, made where
it is missing), and prints the differences from float32 with their intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks import timing, workers
from benchmarks.cells import SPLITS, Place, Training, distill, export, teach
from benchmarks.cells import finished as record_of
from benchmarks.cells import summary as kept_of
from benchmarks.cifar10_lt import parser_of, place_of
from benchmarks.rows import AT_160
from ltkd_cli.metrics import interval_over_seeds

PLAIN = "float32"

PATHS = {
    PLAIN: ("--precision", "float32"),
    "bfloat16": ("--precision", "bfloat16"),
    "bfloat16, compiled": ("--precision", "bfloat16", "--compile"),
}
"""Name -> what tells its students from the others."""

TEACHER = "teacher-ce-0"


def main() -> None:
    """Reads the command line, trains what is missing and prints the table."""
    parser = parser_of(__doc__)
    parser.add_argument("--epochs", type=int, default=30)
    arguments = parser.parse_args()
    if arguments.compile:
        parser.error("--compile is one of the paths that are compared")
    place = place_of(arguments)
    cells = [teach(place, TEACHER, Training("ce", "resnet32", "short"), 0), export(place, TEACHER)]
    cells += [
        distill(place, run_name(path, seed), student(path, arguments.epochs), seed, [TEACHER])
        for seed in arguments.seeds
        for path in PATHS
    ]
    workers.run(cells, arguments.workers, place.runs / "logs")
    found = [records for seed in arguments.seeds if (records := finished(place, seed))]
    print_differences(found)
    if arguments.output:
        kept = [
            {path: kept_of(place, run_name(path, seed)) for path in PATHS}
            for seed in arguments.seeds
        ]
        timing.write(arguments.output, kept)


def student(path: str, epochs: int) -> Training:
    """What the students of a path are."""
    return Training(
        "bkd", "resnet20", "short", {"epochs": epochs}, options=AT_160, precision=PATHS[path]
    )


def finished(place: Place, seed: int) -> dict[str, dict[str, Any]] | None:
    """The records of the students of a seed; None before all of them are trained."""
    found = {path: record_of(place, run_name(path, seed)) for path in PATHS}
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
