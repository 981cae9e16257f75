"""The tables of CIFAR-10-LT at imbalance 100: trains what is missing, one cell after the other.

    python -m benchmarks.cifar10_lt --data cifar10-lt --workers 2 --output TABLE.json
    python -m benchmarks.cifar10_lt --short --data PATH/TO/FOLDER --runs runs-short --workers 2

The first is the published protocol: ResNet-32 teachers and students, each row by the recipe that
made the published figure beside it. `--short` is every method by the recipe `short`, with ResNet-20
students, for an evening on two processor cores.

Each cell is one `ltkd` command and one run folder; see `benchmarks.cells`. Stop it at any time by
Ctrl-C or SIGTERM: finished cells are not run again, and one that was interrupted goes on where it
stopped. The table so far is written whenever a cell has ended.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import timing, workers
from benchmarks.cells import Cell, Place, Training, distill, export, rebalance, summary, teach
from ltkd_cli.errors import LtkdError

BAG_OF_TRICKS = "Zhang et al., BagofTricks-LT"
MISLAS = "Zhong et al., MiSLAS"
LDAM = "Cao et al., LDAM-DRW, the paper"

SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Published:
    """A figure that others report, on the original pixels."""

    accuracy: float
    """On all classes, in percent."""
    source: str
    epoch: str
    """Which epoch it is of: `best` on the test set, `last`, or `not said`."""


@dataclass(frozen=True)
class Row:
    """One row of a table."""

    title: str
    stem: str
    """Name of its runs, without the seed."""
    training: Training | None = None
    """None where the last layer of another row's runs is rebalanced."""
    strategy: tuple[str, ...] = ()
    """Options of `rebalance` then."""
    teachers: tuple[str, ...] = ()
    """Stems of the rows whose caches it learns from, or whose last layer is rebalanced."""
    seeds: tuple[int, ...] = SEEDS[:1]
    published: Published | None = None

    def in_words(self) -> str:
        """What it adds to the command that all rows share."""
        if self.training is None:
            return shlex.join(("rebalance", *self.teachers, *self.strategy))
        kind = "distill" if self.teachers else "teach"
        own = shlex.join((kind, "--model", self.training.model, *self.training.arguments()))
        return own + (f", teacher: {' and '.join(self.teachers)}" if self.teachers else "")


def rebalanced(title: str, source: str, *strategy: str, **facts: Any) -> Row:
    """A row with another last layer for the runs of the row `source`."""
    stem = title.replace(" ", "-")
    return Row(title, stem, strategy=("--strategy", *strategy), teachers=(source,), **facts)


def trained(
    title: str, method: str, recipe: str, *teachers: str, model: str = "resnet32",
    stem: str = "", seeds: Sequence[int] = SEEDS[:1], published: Published | None = None,
    **settings: Any,
) -> Row:  # fmt: skip
    """A row of `teach`, or of `distill` where there are teachers."""
    stem = stem or title.replace(" ", "-").replace(",", "")
    training = Training(method, model, recipe, **settings)
    return Row(title, stem, training, (), teachers, tuple(seeds), published)


def best(accuracy: float, source: str = BAG_OF_TRICKS) -> Published:
    """A figure of the best epoch on the test set."""
    return Published(accuracy, source, "best")


COSINE = "cosine:20"
"""The last layer of cbd, and of its teacher."""

AT_160 = {"from_progress": 0.8}
"""Class weights from epoch 160 of 200 on, counted from 0."""

PUBLISHED_ROWS = (
    trained("teacher, ce", "ce", "ldam", seeds=SEEDS, published=Published(70.36, LDAM, "not said")),
    trained("bkd", "bkd", "ldam", "teacher-ce", seeds=SEEDS, options=AT_160),
    trained("kd", "kd", "ldam", "teacher-ce"),
    trained("ce", "ce", "ldam", seeds=SEEDS, published=Published(70.36, LDAM, "not said")),
    trained("teacher, balanced-softmax", "balanced-softmax", "bbn", seeds=SEEDS),
    trained(
        "dive", "dive", "bbn", "teacher-balanced-softmax",
        seeds=SEEDS, options={"temperature": 2.0}, published=best(78.88),
    ),
    trained("krdistill", "krdistill", "ldam", "teacher-ce", seeds=SEEDS),
    trained("teacher, cosine", "ce", "ldam", seeds=SEEDS, head=COSINE),
    trained("cbd", "cbd", "ldam", "teacher-cosine", seeds=SEEDS),
    trained("ltkd", "ltkd", "ldam", "teacher-ce", seeds=SEEDS),
    trained(
        "balanced-softmax", "balanced-softmax", "bag-of-tricks", seeds=SEEDS, published=best(77.54)
    ),
    trained("ce, bag of tricks", "ce", "bag-of-tricks", published=best(71.95)),
    rebalanced(
        "crt", "ce-bag-of-tricks", "crt", "--recipe", "bag-of-tricks", published=best(74.99)
    ),
    rebalanced(
        "lws", "ce-bag-of-tricks", "lws", "--recipe", "bag-of-tricks", published=best(72.63)
    ),
    rebalanced(
        "tau-norm", "ce-bag-of-tricks", "tau-norm", "--strength", "1", published=best(72.70)
    ),
    # Its loss counts epochs from 1 and begins at 161, that of LDAM at 160.
    trained(
        "class-balanced, deferred", "class-balanced", "bag-of-tricks",
        options={**AT_160, "normalise_by": "batch-weights"}, published=best(74.64),
    ),
    trained(
        "ldam, deferred", "ldam", "bag-of-tricks",
        options={"from_progress": 0.795}, published=best(77.73),
    ),
    trained(
        "ce, mixup", "ce", "ldam",
        overrides={"decay": 0.1, "mixup": 1.0}, published=best(72.8, MISLAS),
    ),
    rebalanced(
        "mislas", "ce-mixup", "mislas", "--recipe", "cifar10-lt", published=best(82.5, MISLAS)
    ),
)  # fmt: skip
"""In the order in which they are trained: seed 0 of all, then the others."""


def short(title: str, method: str, *teachers: str, **settings: Any) -> Row:
    """A student of the short table."""
    return trained(title, method, "short", *teachers, model="resnet20", seeds=SEEDS, **settings)


def short_teacher(name: str, method: str, **settings: Any) -> Row:
    """A teacher of the short table."""
    return trained(f"teacher, {name}", method, "short", seeds=SEEDS, **settings)


CLIPPED = {"clip_norm": 5.0}
EXPERTS = tuple(f"teacher-{group}-expert" for group in ("head", "medium", "tail"))
NO_LOGIT_HALF: dict[str, Any] = {"exchange": False, "prior_strength": 0.0}
NO_FEATURE_HALF: dict[str, Any] = {"representation_weight": 0.0}

SHORT_ROWS = (
    short_teacher("ce", "ce"),
    short_teacher("balanced-softmax", "balanced-softmax"),
    short_teacher("cosine", "ce", head=COSINE),
    *(
        short_teacher(f"{group}-expert", "ce", classes=group)
        for group in ("head", "medium", "tail")
    ),
    short("ce", "ce"),
    short("balanced-softmax", "balanced-softmax"),
    short("logit-adjust", "logit-adjust"),
    short("class-balanced", "class-balanced", options=AT_160),
    short("ldam", "ldam"),
    short("focal", "focal"),
    *(
        rebalanced(f"{strategy} of ce", "teacher-ce", strategy, seeds=SEEDS)
        for strategy in ("crt", "lws", "mislas", "tau-norm", "logit-adjust")
    ),
    short("kd", "kd", "teacher-ce"),
    short("dkd", "dkd", "teacher-ce"),
    short("dist", "dist", "teacher-ce"),
    short("feature", "feature", "teacher-ce", overrides=CLIPPED),
    short("crd", "crd", "teacher-ce", overrides=CLIPPED),
    short("bkd", "bkd", "teacher-ce", options=AT_160),
    short("cbd", "cbd", "teacher-cosine"),
    short("dive", "dive", "teacher-balanced-softmax", options={"temperature": 2.0}),
    short("ltkd", "ltkd", "teacher-ce"),
    short("lfme", "lfme", *EXPERTS),
    short("krdistill", "krdistill", "teacher-ce"),
    short("krdistill logits only", "krdistill", "teacher-ce", options=NO_FEATURE_HALF),
    short("krdistill features only", "krdistill", "teacher-ce", options=NO_LOGIT_HALF),
    short(
        "krdistill with neither", "krdistill", "teacher-ce",
        options={**NO_LOGIT_HALF, **NO_FEATURE_HALF},
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Table:
    """Rows, and the place of the cells that fill them."""

    rows: Sequence[Row]
    place: Place

    def cells(self, seeds: Sequence[int], stems: Sequence[str]) -> list[Cell]:
        """Cells of the rows of these stems, or of all, each behind the cells that it needs.

        First come those of the first seed, in the order of the rows.
        """
        found: dict[str, Cell] = {}
        for seed in seeds:
            for row in self.rows:
                if seed in row.seeds and (not stems or row.stem in stems):
                    self._add(found, row, seed)
        return list(found.values())

    def folder(self, row: Row, seed: int) -> str:
        """Name of a run: that of the first row which trains the very same."""
        same = (one for one in self.rows if one.training and _trained_alike(one, row))
        return f"{next(same, row).stem}-{seed}"

    def kept(self) -> dict[str, Any]:
        """Every row with the scores of its runs so far, as a table's JSON file holds it."""
        kept: dict[str, dict[str, Any]] = {}
        for row in self.rows:
            found = {seed: summary(self.place, self.folder(row, seed)) for seed in row.seeds}
            kept[row.title] = {
                "stem": row.stem,
                "arguments": row.in_words(),
                "published": dataclasses.asdict(row.published) if row.published else None,
                "runs": {f"{row.stem}-{seed}": run for seed, run in found.items() if run},
            }
        images = {run["train_fingerprint"] for row in kept.values() for run in row["runs"].values()}
        if len(images) > 1:
            sys.exit(f"the runs in {self.place.runs} are not all of the same training images")
        return kept

    def _add(self, found: dict[str, Cell], row: Row, seed: int) -> None:
        name = self.folder(row, seed)
        if name in found:
            return
        teachers = [one for stem in row.teachers for one in self.rows if one.stem == stem]
        for teacher in teachers:
            self._add(found, teacher, seed)
        names = [self.folder(teacher, seed) for teacher in teachers]
        if row.training is None:
            found[name] = rebalance(self.place, name, names[0], row.strategy)
        elif names:
            found |= {cache.name: cache for cache in (export(self.place, one) for one in names)}
            found[name] = distill(self.place, name, row.training, seed, names)
        else:
            found[name] = teach(self.place, name, row.training, seed)


def main() -> None:
    """Reads the command line, fills the table and writes it."""
    arguments = parse(__doc__)
    rows = SHORT_ROWS if arguments.short else PUBLISHED_ROWS
    table = Table(rows, place_of(arguments, evaluate_every=0 if arguments.short else 2))

    def write() -> None:
        if arguments.output:
            timing.write(arguments.output, with_others(arguments.output, table.kept()))

    try:
        if not arguments.table_only:
            os.nice(19)
            cells = table.cells(arguments.seeds, arguments.rows)
            workers.run(cells, arguments.workers, arguments.runs / "logs", write)
    except LtkdError as error:
        sys.exit(error.problem)
    finally:
        write()


def with_others(path: Path, kept: dict[str, Any]) -> dict[str, Any]:
    """The rows with the runs that the file has of them and this machine has not."""
    before = json.loads(path.read_text()) if path.exists() else {}
    for title, row in kept.items():
        earlier = before.get(title, {})
        if earlier.get("arguments") == row["arguments"]:
            row["runs"] = dict(sorted((earlier["runs"] | row["runs"]).items()))
    return kept


def place_of(arguments: argparse.Namespace, evaluate_every: int = 0) -> Place:
    """Where the cells lie and on which images they are trained."""
    images: dict[str, Any] = {"data": arguments.data, "imbalance": 100.0}
    if arguments.data_root:
        images["data_root"] = arguments.data_root
    return Place(
        runs=arguments.runs,
        images=images,
        device=arguments.device,
        evaluate_every=evaluate_every,
        views=arguments.views,
        export_precision=arguments.export_precision,
    )


def parse(description: str) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_place(parser)
    parser.add_argument("--short", action="store_true", help="the table of short trainings")
    parser.add_argument("--rows", type=stems_of_rows, default=[], help="such as bkd,dive")
    parser.add_argument("--table-only", action="store_true", help="train nothing")
    return parser.parse_args()


def add_place(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say where cells lie, on which images and how many at a time."""
    parser.add_argument("--data", default="cifar10-lt", help="cifar10-lt or an image folder")
    parser.add_argument("--data-root", help="folder of the CIFAR files")
    parser.add_argument("--runs", type=Path, default=Path("runs-cifar10-lt"))
    parser.add_argument("--views", type=int, default=16, help="of each image in a cache")
    parser.add_argument("--export-precision", default="float32", help="float32 or bfloat16")
    parser.add_argument("--seeds", type=numbers, default=list(SEEDS), help="such as 0,1,2")
    parser.add_argument("--workers", type=int, default=1, help="processes of one thread each")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=Path, help="JSON file with the scores of every run")


def numbers(text: str) -> list[int]:
    """`0,1,2` as numbers."""
    return [int(part) for part in text.split(",")]


def stems_of_rows(text: str) -> list[str]:
    """`kd,bkd` as stems of rows; argparse's error for others."""
    known = {row.stem for row in (*PUBLISHED_ROWS, *SHORT_ROWS)}
    stems = text.split(",")
    if unknown := set(stems) - known:
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}; there are {sorted(known)}")
    return stems


def _trained_alike(one: Row, other: Row) -> bool:
    return (one.training, one.teachers) == (other.training, other.teachers)


if __name__ == "__main__":
    main()
