"""What consistent outputs are worth under strong views, and how many of these a cache needs.

    python -m benchmarks.consistency --data PATH/TO/FOLDER --workers 2 \
        --output benchmarks/results/consistency.json

A ResNet-32 teacher by ce for each seed, trained on views of `cifar-strong`, and ResNet-20 students
by bkd and kd, all by the recipe `short` (30 epochs). The students of a seed differ in their
cache alone: the teacher's outputs for 1, 4, 16 and 64 views, its outputs for view 0 in the place
of those for 16 others, which the student sees all the same, and its outputs for 16 views with
mixup on top. Stopped at any time, the same command goes on; finished cells are not run again.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import timing, workers
from benchmarks.cells import Cell, Place, Training, distill_from, export, summary, teach
from benchmarks.cifar10_lt import parser_of, place_of, with_others
from benchmarks.rows import AT_160
from benchmarks.views import FIXED, NUMBERS, copy
from ltkd_cli.errors import LtkdError

POLICY = "cifar-strong"
MIXED = f"{POLICY}+mixup:1"
"""Mixup as its source has it on CIFAR, of every view but 0."""

OF_VIEW_0 = f"{FIXED} views, outputs for view 0"
WITH_MIXUP = f"{FIXED} views, mixup on top"

BY_NUMBER = {f"{number} view{'s' * (number > 1)}": number for number in NUMBERS}

KINDS = (*BY_NUMBER, OF_VIEW_0, WITH_MIXUP)
"""Caches, each a row of the table for each method."""

OF_FIXED = (f"{FIXED} views", OF_VIEW_0, WITH_MIXUP)
"""Those of 16 views of each image."""

OPTIONS: dict[str, dict[str, Any]] = {"bkd": AT_160, "kd": {}}
"""Methods of the students, and what is not their default."""


def main() -> None:
    """Reads the command line, trains what is missing and writes the scores."""
    arguments = parse()
    place, changed = place_of(arguments), {"epochs": arguments.epochs}
    logs = place.runs / "logs"

    def write() -> None:
        if arguments.output:
            kept = rows(place, arguments.seeds, changed)
            timing.write(arguments.output, with_others(arguments.output, kept))

    def train(kinds: Sequence[str]) -> None:
        students = [
            student(place, method, kind, seed, changed)
            for seed in arguments.seeds
            for kind in kinds
            for method in OPTIONS
        ]
        workers.run(students, arguments.workers, logs, write)

    try:
        if not arguments.table_only:
            begun = [one for seed in arguments.seeds for one in teaching(place, seed, changed)]
            workers.run(begun, arguments.workers, logs)
            for seed in arguments.seeds:
                held = cache(place, f"{FIXED} views", seed)
                copy(held, cache(place, OF_VIEW_0, seed), np.zeros(FIXED, dtype=np.int64))
            train(OF_FIXED)
            teachers = [teach_one(place, seed, changed) for seed in arguments.seeds]
            largest = [export_views(place, seed, NUMBERS[-1]) for seed in arguments.seeds]
            workers.run([*teachers, *largest], arguments.workers, logs)
            for seed in arguments.seeds:
                for kind, number in BY_NUMBER.items():
                    held = cache(place, f"{NUMBERS[-1]} views", seed)
                    copy(held, cache(place, kind, seed), np.arange(number))  # some are there
            train([kind for kind in KINDS if kind not in OF_FIXED])
    except LtkdError as error:
        sys.exit(error.problem)
    finally:
        write()


def teaching(place: Place, seed: int, changed: dict[str, Any]) -> list[Cell]:
    """The teacher of a seed, its cache of 16 views and that of mixtures."""
    mixtures = export(
        dataclasses.replace(place, views=FIXED),
        teacher_of(seed),
        MIXED,
        cache(place, WITH_MIXUP, seed),
    )
    return [teach_one(place, seed, changed), export_views(place, seed, FIXED), mixtures]


def teach_one(place: Place, seed: int, changed: dict[str, Any]) -> Cell:
    """The teacher of a seed."""
    training = Training("ce", "resnet32", "short", changed, policy=POLICY)
    return teach(place, teacher_of(seed), training, seed)


def export_views(place: Place, seed: int, number: int) -> Cell:
    """The cache of the first views of every image."""
    return export(dataclasses.replace(place, views=number), teacher_of(seed))


def cache(place: Place, kind: str, seed: int) -> Path:
    """Where a cache of a seed's teacher lies."""
    return place.runs / f"{teacher_of(seed)}-{stem(kind)}.h5"


def student(place: Place, method: str, kind: str, seed: int, changed: dict[str, Any]) -> Cell:
    """A student of one of the caches."""
    training = trained_by(method, changed)
    teachers, caches = [teacher_of(seed)], [cache(place, kind, seed)]
    return distill_from(place, run_name(method, kind, seed), training, seed, teachers, caches)


def rows(place: Place, seeds: list[int], changed: dict[str, Any]) -> dict[str, Any]:
    """What is kept of the students, a row for each method and kind of cache."""
    kept: dict[str, Any] = {}
    for method in OPTIONS:
        for kind in KINDS:
            names = {seed: run_name(method, kind, seed) for seed in seeds}
            found = {name: run for name in names.values() if (run := summary(place, name))}
            arguments = " ".join(trained_by(method, changed).arguments())
            kept[f"{method}, {kind}"] = {"arguments": arguments, "runs": found}
    return kept


def trained_by(method: str, changed: dict[str, Any]) -> Training:
    """What the students by a method are."""
    return Training(method, "resnet20", "short", changed, OPTIONS[method])


def teacher_of(seed: int) -> str:
    """Name of a teacher's run."""
    return f"teacher-strong-{seed}"


def run_name(method: str, kind: str, seed: int) -> str:
    """Name of a student's run."""
    return f"{method}-strong-{stem(kind)}-{seed}"


def stem(kind: str) -> str:
    """A kind of cache as part of a name."""
    return kind.replace(",", "").replace(" ", "-")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = parser_of(__doc__)
    parser.set_defaults(runs=Path("runs-consistency"))
    parser.add_argument("--epochs", type=int, default=30, help="of teachers and students")
    parser.add_argument("--table-only", action="store_true", help="train nothing")
    return parser.parse_args()


if __name__ == "__main__":
    main()
