"""The search for the best ResNet-32 student of CIFAR-10-LT, on images held out of the training set.

    python -m benchmarks.best_student --data PATH/TO/FOLDER --workers 2 --compile \
        --output benchmarks/results/best-student-search.json

Holds 250 images of each class out before the long tail is made, trains every teacher and student
below on the rest, for 60 epochs by the recipe `short`, and prints their accuracies on the images
that were held out, beside what was predicted before any was trained. The test set is not looked
at. Stopped at any time, the same command goes on; finished cells are not run again.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import timing, workers
from benchmarks.cells import (
    SPLITS,
    Cell,
    Place,
    Training,
    distill_from,
    export,
    finished,
    summary,
    teach,
)
from benchmarks.cifar10_lt import parser_of, place_of, with_others
from benchmarks.krdistill import HELD_OUT
from benchmarks.rows import AT_160
from ltkd_cli.errors import LtkdError

PLAIN, STRONG, MIXED = "cifar", "cifar-strong", "cifar-strong+mixup:1:0.5"
"""Views that teachers are trained on, and their students with them."""


@dataclass(frozen=True)
class Candidate:
    """A teacher or a student of the search."""

    title: str
    method: str
    predicted: float
    """Accuracy on the held-out images in percent, written down before it was trained."""
    teachers: tuple[str, ...] = ()
    """Titles of those whose outputs, or the mean of them, it learns from; none for labels alone."""
    policy: str = STRONG
    """Of a teacher; students have that of their teachers."""
    model: str = "resnet32"
    seed: int = 0
    views: int = 16
    """Of each image in the cache that it learns from."""
    options: tuple[tuple[str, Any], ...] = ()
    average_decay: float = 0.0

    @property
    def stem(self) -> str:
        """Name of its run."""
        return "".join(c if c.isalnum() else "-" for c in self.title.replace(", ", "-"))

    def training(self, epochs: int) -> Training:
        """What it is, in the terms of the other tables."""
        changed: dict[str, Any] = {"epochs": epochs}
        if self.average_decay:
            changed["average_decay"] = self.average_decay
        policy = "" if self.teachers else self.policy
        return Training(
            self.method, self.model, "short", changed, dict(self.options), policy=policy
        )


def labels(title: str, predicted: float, **settings: Any) -> Candidate:
    """A teacher, and what a student has to beat: the class counts in its loss, no teacher."""
    return Candidate(title, "balanced-softmax", predicted, **settings)


THREE = ("strong 0", "strong 1", "strong 2")
LARGE = ("large 0", "large 1")
FLAT = (("temperature", 2.0),)

CANDIDATES = (
    labels("plain", 70.0, policy=PLAIN),
    labels("strong 0", 72.0),
    labels("strong 1", 72.0, seed=1),
    labels("strong 2", 72.0, seed=2),
    labels("mixed", 71.5, policy=MIXED),
    labels("large 0", 73.0, model="resnet56"),
    labels("large 1", 73.0, model="resnet56", seed=1),
    Candidate("dive of strong", "dive", 74.0, THREE[:1], options=FLAT),
    Candidate("bkd of strong", "bkd", 72.5, THREE[:1], options=tuple(AT_160.items())),
    Candidate("dive of three", "dive", 75.5, THREE, options=FLAT),
    Candidate("dive of three, 64 views", "dive", 75.8, THREE, options=FLAT, views=64),
    Candidate("dive of three, averaged", "dive", 76.0, THREE, options=FLAT, average_decay=0.999),
    Candidate("dive of mixed", "dive", 74.0, ("mixed",), options=FLAT),
    Candidate("dive of large", "dive", 76.0, LARGE, options=FLAT),
)


def main() -> None:
    """Reads the command line, trains what is missing and prints the table."""
    arguments = parse()
    place = place_of(arguments)
    place = dataclasses.replace(place, images={**place.images, "validation": HELD_OUT})
    chosen = [one for one in CANDIDATES if not arguments.only or one.stem in arguments.only]

    def write() -> None:
        if arguments.output:
            kept = {one.title: _kept(place, one, arguments.epochs) for one in CANDIDATES}
            timing.write(arguments.output, with_others(arguments.output, kept))

    try:
        cells = cells_of(place, chosen, arguments.epochs)
        workers.run(cells, arguments.workers, place.runs / "logs", write)
    except LtkdError as error:
        sys.exit(error.problem)
    finally:
        write()
    print("| candidate | predicted | all | head | medium | tail |\n|---|---|---|---|---|---|")
    for one in CANDIDATES:
        if record := finished(place, one.stem):
            scores = record["validation_scores"]
            found = " | ".join(f"{100 * scores[split]['accuracy']:.1f}" for split in SPLITS)
            print(f"| {one.title} | {one.predicted:.1f} | {found} |")


def cells_of(place: Place, candidates: Sequence[Candidate], epochs: int) -> list[Cell]:
    """The candidates, each behind its teachers and their cache."""
    by_title = {one.title: one for one in CANDIDATES}
    found: dict[str, Cell] = {}

    def add(one: Candidate) -> None:
        if one.stem in found:
            return
        training = one.training(epochs)
        if not one.teachers:
            found[one.stem] = teach(place, one.stem, training, one.seed)
            return
        teachers = [by_title[title] for title in one.teachers]
        for teacher in teachers:
            add(teacher)
        names = [teacher.stem for teacher in teachers]
        cache = mean_of(place, names, one.views)
        found[cache.name] = cache
        path = place.runs / cache.name
        student = distill_from(place, one.stem, training, one.seed, names, [path])
        found[one.stem] = dataclasses.replace(student, needs=(cache.name,))

    for one in candidates:
        add(one)
    return list(found.values())


def mean_of(place: Place, names: Sequence[str], views: int) -> Cell:
    """The cache of the mean of some teachers' logits, or of one teacher's outputs."""
    place = dataclasses.replace(place, views=views)
    path = place.runs / f"{'-and-'.join(names)}-{views}-views.h5"
    one = export(place, names[0], path=path)
    runs = [str(place.runs / name) for name in names]
    return dataclasses.replace(one, begin=(one.begin[0], *runs, *one.begin[2:]), needs=(*names,))


def _kept(place: Place, one: Candidate, epochs: int) -> dict[str, Any]:
    """What the JSON file has of a candidate."""
    record, arguments = finished(place, one.stem), " ".join(one.training(epochs).arguments())
    found = {} if record is None else {
        one.stem: {**(summary(place, one.stem) or {}), "validation": record["validation_scores"]}
    }  # fmt: skip
    facts = {"predicted": one.predicted, "teachers": one.teachers, "views": one.views}
    return {"arguments": arguments, **facts, "runs": found}


def parse() -> argparse.Namespace:
    """The command line."""
    parser = parser_of(__doc__)
    parser.set_defaults(runs=Path("runs-best-student"))
    parser.add_argument("--epochs", type=int, default=60, help="of teachers and students")
    parser.add_argument("--only", nargs="+", default=[], help="names of runs, such as strong-0")
    return parser.parse_args()


if __name__ == "__main__":
    main()
