"""How many views a cache should hold, and what consistency of views is worth.

    python -m benchmarks.views --data PATH/TO/FOLDER --student resnet20 --epochs 20

Takes the teachers of `benchmarks.cifar10_lt` (trains them where they are missing), exports
the largest number of views once, and cuts the caches with fewer views out of it. One more
cache holds the outputs for view 0 in the place of every view: its students see other pixels
than the teacher did. All students are trained by bkd.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks import cifar10_lt as table
from benchmarks.cifar10_lt import Settings

NUMBERS = (1, 4, 16, 64)
"""Views of each image that students choose from; the last is exported."""

FIXED = 16
"""Views that the students see who are given the outputs for view 0."""

BKD = ("--method", "bkd", "--set", "from_progress=0.8")


def main() -> None:
    """Reads the command line, trains what is missing and prints the table."""
    settings, arguments = table.read_settings(__doc__)
    if not arguments.table_only:
        fill(settings, arguments.seeds)
    rows = [(kind.replace("-", " "), f"bkd-{kind}", " ".join(BKD)) for kind in kinds()]
    table.print_table(settings, rows, arguments)


def kinds() -> list[str]:
    """Names of the caches, and so of the rows."""
    return [*(f"{number}-views" for number in NUMBERS), f"{FIXED}-views-answers-for-view-0"]


def fill(settings: Settings, seeds: Sequence[int]) -> None:
    """Trains, exports and cuts whatever is missing."""
    table.in_parallel(settings, [table.teach(settings, "ce", seed) for seed in seeds])
    table.in_parallel(settings, [export(settings, seed) for seed in seeds])
    for seed in seeds:
        cut(settings, seed)
    commands = [distill(settings, kind, seed) for seed in seeds for kind in kinds()]
    table.in_parallel(settings, commands)


def export(settings: Settings, seed: int) -> list[str]:
    """The command that exports the largest cache; empty when it is there."""
    path = folder(settings, seed) / f"{kinds()[len(NUMBERS) - 1]}.h5"
    if path.exists():
        return []
    return [
        "export-logits", f"teacher-ce-{seed}", "--views", str(NUMBERS[-1]),
        "--output", str(path), "--runs", str(settings.runs), *settings.machine[:2],
        "--precision", settings.export_precision,
    ]  # fmt: skip


def cut(settings: Settings, seed: int) -> None:
    """Writes the smaller caches out of the largest: the first views of each image are the same."""
    whole = folder(settings, seed) / f"{kinds()[len(NUMBERS) - 1]}.h5"
    for number in NUMBERS[:-1]:
        copy(whole, folder(settings, seed) / f"{number}-views.h5", np.arange(number))
    copy(whole, folder(settings, seed) / f"{kinds()[-1]}.h5", np.zeros(FIXED, dtype=np.int64))


def copy(source: Path, target: Path, views: np.ndarray) -> None:
    """Writes a cache whose view v of every image holds the output of `source` for views[v]."""
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
            outputs = cache.read(
                rows.repeat_interleave(len(views)),
                torch.from_numpy(views).repeat(len(rows)),
                held.names,
            )
            start = int(rows[0]) * len(views)
            writer.write(start, outputs["logits"].numpy(), outputs["features"].numpy())
        writer.finish()


def distill(settings: Settings, kind: str, seed: int) -> list[str]:
    """The command of one student; empty when it is done."""
    begin = [
        "distill", *settings.images, "--model", settings.student_model, *BKD,
        "--cache", str(folder(settings, seed) / f"{kind}.h5"), *settings.recipe,
        "--seed", str(seed),
    ]  # fmt: skip
    return table.train(settings, "distill", f"bkd-{kind}-{seed}", begin)


def folder(settings: Settings, seed: int) -> Path:
    """Where the caches of a seed's teacher lie."""
    return settings.runs / f"teacher-ce-{seed}"


if __name__ == "__main__":
    main()
