"""How many views a cache should hold, and what consistency of views is worth.

    python -m benchmarks.views --data PATH/TO/FOLDER --seeds 0,1

Takes the ce teachers of `benchmarks.cifar10_lt --short` (trains them where they are missing),
exports the largest number of views once, and cuts the caches with fewer views out of it. One more
cache holds the answers for view 0 in the place of every view: its students see other pixels
than the teacher did. All students are trained by bkd.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch

from benchmarks import timing, workers
from benchmarks.cells import Cell, Place, Training, distill_from, export, summary, teach
from benchmarks.cifar10_lt import parser_of, place_of
from benchmarks.rows import AT_160

NUMBERS = (1, 4, 16, 64)
"""Views of each image that students choose from; the last is exported."""

FIXED = 16
"""Views that the students see who are given the answers for view 0."""

TEACHER = Training("ce", "resnet32", "short")
STUDENT = Training("bkd", "resnet20", "short", options=AT_160)


def main() -> None:
    """Reads the command line, trains what is missing and writes the scores."""
    parser = parser_of(__doc__)
    arguments = parser.parse_args()
    place = dataclasses.replace(place_of(arguments), views=NUMBERS[-1])
    logs = place.runs / "logs"
    teachers = [cell for seed in arguments.seeds for cell in teacher_cells(place, seed)]
    workers.run(teachers, arguments.workers, logs)
    for seed in arguments.seeds:
        cut(place, seed)
    students = [student(place, kind, seed) for seed in arguments.seeds for kind in kinds()]
    workers.run(students, arguments.workers, logs)
    if arguments.output:
        timing.write(
            arguments.output, {kind: row(place, kind, arguments.seeds) for kind in kinds()}
        )


def kinds() -> list[str]:
    """Names of the caches, and so of the rows."""
    return [*(f"{number}-views" for number in NUMBERS), f"{FIXED}-views-answers-for-view-0"]


def row(place: Place, kind: str, seeds: list[int]) -> dict[str, object]:
    """What is kept of the students of a kind of cache."""
    names = [f"bkd-{kind}-{seed}" for seed in seeds]
    runs = {name: summary(place, name) for name in names}
    return {"arguments": " ".join(STUDENT.arguments()), "runs": runs}


def teacher_cells(place: Place, seed: int) -> list[Cell]:
    """The teacher of a seed and its largest cache."""
    name = f"teacher-ce-{seed}"
    return [teach(place, name, TEACHER, seed), export(place, name)]


def cut(place: Place, seed: int) -> None:
    """Writes the smaller caches out of the largest: the first views of each image are the same."""
    whole = place.cache(f"teacher-ce-{seed}")
    for number in NUMBERS[:-1]:
        copy(whole, cache(place, f"{number}-views", seed), np.arange(number))
    copy(whole, cache(place, kinds()[-1], seed), np.zeros(FIXED, dtype=np.int64))


def cache(place: Place, kind: str, seed: int) -> Path:
    """Where a cache of a seed's teacher lies."""
    return place.runs / f"teacher-ce-{seed}-{kind}.h5"


def copy(source: Path, target: Path, views: np.ndarray) -> None:
    """Writes a cache whose view v of every image holds the answer of `source` for views[v]."""
    from ltkd_cli.cache import Cache, CacheWriter, Layout

    if target.exists():
        return
    cache = Cache.open(source)
    held = cache.layout
    layout = Layout.even(held.labels, held.classes, len(views), held.width, held.dtype)
    own = ("format", "complete", "created")
    attributes = {name: value for name, value in cache.attributes.items() if name not in own}
    with CacheWriter(target, layout, attributes) as writer:
        for rows in torch.split(torch.arange(held.rows), 256):
            said = cache.read(
                rows.repeat_interleave(len(views)),
                torch.from_numpy(views).repeat(len(rows)),
                held.names,
            )
            start = int(rows[0]) * len(views)
            writer.write(start, said["logits"].numpy(), said["features"].numpy())
        writer.finish()


def student(place: Place, kind: str, seed: int) -> Cell:
    """A student of one of the caches."""
    teachers, caches = [f"teacher-ce-{seed}"], [cache(place, kind, seed)]
    return distill_from(place, f"bkd-{kind}-{seed}", STUDENT, seed, teachers, caches)


if __name__ == "__main__":
    main()
