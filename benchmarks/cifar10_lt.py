"""The tables of CIFAR-10-LT at imbalance 100: trains what is missing, one cell after the other.

    python -m benchmarks.cifar10_lt --data cifar10-lt --workers 2 --output TABLE.json
    python -m benchmarks.cifar10_lt --short --data PATH/TO/FOLDER --runs runs-short --workers 2

The first is the published protocol: ResNet-32 teachers and students, each row by the recipe that
made the published figure beside it. `--short` is every method by the recipe `short`, with ResNet-20
students, for an evening on two processor cores.

Each cell is one `ltkd` command and one run folder; see `benchmarks.cells`. Stop it at any time by
Ctrl-C or SIGTERM: finished cells are not run again, and one that was interrupted goes on where it
stopped. Trained runs that come with the repository (`benchmarks.kept`) are taken up where they are
of these very images. The table so far is written whenever a cell has ended.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import kept, timing, workers
from benchmarks.cells import Cell, Place, distill, export, rebalance, summary, teach
from benchmarks.rows import FIRST, PUBLISHED_ROWS, SEEDS, SHORT_ROWS, Row
from ltkd_cli.errors import LtkdError


@dataclass(frozen=True)
class Table:
    """Rows, and the place of the cells that fill them."""

    rows: Sequence[Row]
    place: Place

    def cells(self, seeds: Sequence[int], stems: Sequence[str]) -> list[Cell]:
        """Cells of the rows of these stems, or of all, each behind the cells that it needs.

        All cells of a seed come before those of the next.
        """
        found: dict[str, Cell] = {}
        queue = sorted(self.rows, key=lambda row: [*FIRST, row.stem].index(row.stem))
        for seed in seeds:
            for row in queue:
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
        if len(_images(row["runs"] for row in kept.values())) > 1:
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
            write()  # refuses a file of other images before hours are spent
            cells = table.cells(arguments.seeds, arguments.rows)
            if not arguments.short:
                kept.take_up((cell.name for cell in cells), arguments.runs, table.place.images)
            workers.run(cells, arguments.workers, arguments.runs / "logs", write)
    except LtkdError as error:
        sys.exit(error.problem)
    finally:
        write()


def with_others(path: Path, kept: dict[str, Any]) -> dict[str, Any]:
    """The rows with the runs that the file has of them and this machine has not.

    Ends the program where those are of other training images: both would be averaged.
    """
    before = json.loads(path.read_text()) if path.exists() else {}
    alike = {
        title: before[title]["runs"]
        for title, row in kept.items()
        if title in before and before[title]["arguments"] == row["arguments"]
    }
    here = _images(row["runs"] for row in kept.values())
    if here and _images(alike.values()) - here:
        sys.exit(f"{path} has rows of other training images; choose another --output")
    for title, earlier in alike.items():
        kept[title]["runs"] = dict(sorted((earlier | kept[title]["runs"]).items()))
    return kept


def _images(rows: Iterable[Mapping[str, Any]]) -> set[str]:
    """Fingerprints of the training images of all runs of some rows."""
    return {run["train_fingerprint"] for runs in rows for run in runs.values()}


def place_of(arguments: argparse.Namespace, evaluate_every: int = 0) -> Place:
    """Where the cells lie and on which images they are trained."""
    images: dict[str, Any] = {"data": arguments.data, "imbalance": 100.0}
    if arguments.data_root:
        images["data_root"] = arguments.data_root
    return Place(
        runs=arguments.runs,
        images=images,
        device=arguments.device,
        compile=arguments.compile,
        evaluate_every=evaluate_every,
        views=arguments.views,
        export_precision=arguments.export_precision,
    )


def parse(description: str) -> argparse.Namespace:
    """The command line."""
    parser = parser_of(description)
    parser.add_argument("--short", action="store_true", help="the table of short trainings")
    parser.add_argument("--rows", type=stems_of_rows, default=[], help="such as bkd,dive")
    parser.add_argument("--table-only", action="store_true", help="train nothing")
    return parser.parse_args()


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """The options that say where cells lie, on which images and how many at a time."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="cifar10-lt", help="cifar10-lt or an image folder")
    parser.add_argument("--data-root", help="folder of the CIFAR files")
    parser.add_argument("--runs", type=Path, default=Path("runs-cifar10-lt"))
    parser.add_argument("--views", type=int, default=16, help="of each image in a cache")
    parser.add_argument("--export-precision", default="float32", help="float32 or bfloat16")
    parser.add_argument("--seeds", type=numbers, default=list(SEEDS), help="such as 0,1,2")
    parser.add_argument("--workers", type=int, default=1, help="processes of one thread each")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--compile", action="store_true", help="trainings compile the network")
    parser.add_argument("--output", type=Path, help="JSON file with the scores of every run")
    return parser


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
