"""Writes what the documentation repeats of the code: `make docs`, or `python docs/generate.py`.

Between `<!-- NAME:begin -->` and `<!-- NAME:end -->` a page is generated; around them it is
written by hand. So are the notes on single methods in docs/method_notes/, on the recipe of the
source and on choices made here; a method without a note has a section all the same.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ltkd_cli.cache import Layout, layout
from ltkd_cli.methods.contract import Method
from ltkd_cli.methods.finding import all_names, find, source_of
from ltkd_cli.methods.options import Option, options
from ltkd_cli.metrics import interval_over_seeds
from ltkd_cli.training.recipe import POLICIES, PRESETS, SOURCES, Recipe

ROOT = Path(__file__).parents[1]
NOTES = ROOT / "docs" / "method_notes"
EXAMPLE = ROOT / "examples" / "add_a_method"
RESULTS = ROOT / "benchmarks" / "results"

SPLITS = ("all", "head", "medium", "tail")

TEACHER_THAT_IS_A_ROW = "teacher, ce"
"""A row of the published protocol whose runs are those of the row `ce`."""


@dataclass(frozen=True)
class ImageSet:
    """What the size of a cache follows from."""

    name: str
    images: int
    classes: int
    features: int
    teacher: str
    """A network with that many features."""


IMAGE_SETS = (
    ImageSet("CIFAR-100-LT", 10_847, 100, 64, "resnet32"),
    ImageSet("ImageNet-LT", 115_846, 1000, 2048, "resnet50"),
    ImageSet("iNaturalist 2018", 437_513, 8142, 2048, "resnet50"),
)


def main() -> None:
    """Writes every page that is not what it should be, and names it."""
    for path, text in pages().items():
        if path.read_text() != text:
            path.write_text(text)
            sys.stdout.write(f"wrote {path.relative_to(ROOT)}\n")


def pages() -> dict[Path, str]:
    """The text that every page should have."""
    parts = {
        ROOT / "README.md": {
            "published": published_table_in_short(kept("cifar10-lt-published")),
            "faults": faults_table(kept("faults")),
        },
        ROOT / "docs" / "results.md": {
            "cifar10-lt-published": published_table(
                kept("cifar10-lt-published"), kept("official-code")
            ),
            "cifar10-lt-short": results_table(kept("cifar10-lt-short")),
            "krdistill-search": search_table(kept("krdistill-search")),
            "fast-paths": fast_paths_table(kept("fast-paths")),
            "consistency": consistency_table(kept("consistency")),
        },
        ROOT / "docs" / "methods.md": {
            "methods-table": methods_table(),
            "recipes": recipes_table(),
            "methods": methods_in_full(),
        },
        ROOT / "docs" / "cache.md": {"datasets": datasets_table(), "sizes": sizes_table()},
        EXAMPLE / "README.md": {
            "method": listing(EXAMPLE / "similarity.py"),
            "test": listing(EXAMPLE / "test_similarity.py"),
        },
    }
    return {path: filled(path, generated) for path, generated in parts.items()}


def filled(path: Path, generated: Mapping[str, str]) -> str:
    """The page with every part between its markers; exits with the marker that is missing."""
    text = path.read_text()
    for name, part in generated.items():
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        before, found, rest = text.partition(begin)
        _, found_end, after = rest.partition(end)
        if not (found and found_end):
            sys.exit(f"{path} needs a line {begin} and, below it, a line {end}.")
        text = f"{before}{begin}\n\n{part.strip()}\n\n{end}{after}"
    return text


def recipes_table() -> str:
    """A row for every preset."""
    columns = (
        "preset", "optimiser", "epochs", "batch", "learning rate", "schedule", "warm-up",
        "weight decay", "views", "source",
    )  # fmt: skip
    return table(columns, (recipe_row(name, recipe) for name, recipe in PRESETS.items()))


def recipe_row(name: str, recipe: Recipe) -> tuple[str, ...]:
    """A preset, with its schedule in epochs counted from 0."""
    optimizer = recipe.optimizer + (", Nesterov" if recipe.nesterov else "")
    if recipe.layer_decay != 1:
        optimizer += f", layer decay {recipe.layer_decay:g}"
    batch = f"{recipe.batch_size}" + (", the last one dropped" if recipe.drop_last else "")
    epochs = " and ".join(f"{recipe.epochs * share:g}" for share in recipe.milestones)
    step = f"times {recipe.decay:g} at epochs {epochs}"
    unit = "epoch" if recipe.warmup_epochs == 1 else "epochs"
    warmup = f"{recipe.warmup_epochs} {unit} from {recipe.warmup_start:.3g} of the rate"
    return (
        f"`{name}`", optimizer, f"{recipe.epochs}", batch, f"{recipe.learning_rate:g}",
        step if recipe.schedule == "step" else recipe.schedule,
        warmup if recipe.warmup_epochs else "none", f"{recipe.weight_decay:g}",
        f"`{POLICIES[name]}`" if name in POLICIES else "of the images", linked(SOURCES[name]),
    )  # fmt: skip


def methods_table() -> str:
    """A row for every method, those that learn from a teacher first."""
    names = sorted(all_names(), key=lambda name: not find(name).needs)
    rows = (
        (
            f"[{name}](#{name})",
            title(method),
            needs(method),
            method.sampler,
            teacher(method),
            method.mixtures or "no",
            linked(short_source(method).rstrip(".")),
        )
        for name in names
        for method in [find(name)]
    )
    columns = ("method", "what it is", "needs", "sampler", "teacher", "mixtures", "source")
    return table(columns, rows)


def methods_in_full() -> str:
    """A section for every method, in alphabetical order."""
    if strangers := {path.stem for path in NOTES.glob("*.md")} - set(all_names()):
        sys.exit(f"{NOTES} has notes on {', '.join(sorted(strangers))}, which is no method.")
    return "\n\n".join(section(name, find(name)) for name in all_names())


def section(name: str, method: type[Method]) -> str:
    """Everything about one method."""
    notes = NOTES / f"{name}.md"
    facts = table(
        ("needs", "sampler", "teacher", "head", "several teachers", "mixtures"),
        [
            (
                *(needs(method), method.sampler, teacher(method), method.head),
                *(several_teachers(method), method.mixtures or "no"),
            )
        ],
    )
    parts = (
        f"## {name}",
        f"{title(method)}.",
        f"```text\n{definition(method)}\n```",
        facts,
        table(("option", "default", "what it is"), map(option_row, options(method))),
        f"Source: {linked(source_of(method))}",
        notes.read_text().strip() if notes.exists() else "",
    )
    return "\n\n".join(part for part in parts if part)


def title(method: type[Method]) -> str:
    """The first sentence of a method's file, which says what the method is."""
    module = inspect.getmodule(method)
    assert module
    return inspect.cleandoc(module.__doc__ or "").split("\n")[0].rstrip(".")


def definition(method: type[Method]) -> str:
    """A method's docstring without its source."""
    return inspect.cleandoc(method.__doc__ or "").partition("Source:")[0].strip()


def needs(method: type[Method]) -> str:
    """What a method reads from the cache, in words."""
    return " and ".join(sorted(method.needs, reverse=True)) or "-"


def teacher(method: type[Method]) -> str:
    """The method that trains the teacher, where there is one."""
    return method.teacher if method.needs else "-"


def several_teachers(method: type[Method]) -> str:
    """Whether several caches may be given."""
    if not method.needs:
        return "-"
    return "yes" if method.several_teachers else "no"


def option_row(option: Option) -> tuple[str, str, str]:
    """Name, default and help of an option."""
    return f"`{option.name}`", written(option.default), option.help


def written(value: object) -> str:
    """A default as it is typed after `--set name=`."""
    if isinstance(value, float):
        return f"{value:g}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def short_source(method: type[Method]) -> str:
    """A method's source without titles of papers."""
    return re.sub(r'"[^"]*",? ', "", source_of(method))


def linked(source: str) -> str:
    """A source whose arXiv numbers are links."""
    return re.sub(r"arXiv:(\d{4}\.\d{4,5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", source)


def kept(name: str) -> Any:
    """Scores of runs that a benchmark wrote."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def published_table(rows: Mapping[str, Any], official: Mapping[str, Any]) -> str:
    """Our accuracies in percent beside those of the official code and those that are published."""
    columns = (
        "row", "n", *SPLITS, "best epoch", "minutes", "official code, same pixels",
        "published (original pixels)", "command, without images, seed and paths",
    )  # fmt: skip
    by_command = {
        row["arguments"]: official[row["stem"]] for row in rows.values() if row["stem"] in official
    }
    lines = (
        (
            *published_row(name, row), minutes([*row["runs"].values()]),
            official_code(by_command.get(row["arguments"])), of_others(row),
            f"`{row['arguments']}`",
        )
        for name, row in rows.items() if row["runs"]
    )  # fmt: skip
    return table(columns, lines) + not_run_yet(rows)


def published_table_in_short(rows: Mapping[str, Any]) -> str:
    """Our accuracies in percent beside those that are published."""
    columns = ("row", "n", *SPLITS, "best epoch", "published (original pixels)")
    return table(
        columns,
        (
            (*published_row(name, row), of_others(row))
            for name, row in rows.items()
            if row["runs"] and name != TEACHER_THAT_IS_A_ROW
        ),
    )


def not_run_yet(rows: Mapping[str, Any]) -> str:
    """A paragraph with the rows without runs; nothing where there are none."""
    names = [f"`{name}`" for name, row in rows.items() if not row["runs"]]
    return f"\n\nNot run yet: {'; '.join(names)}." if names else ""


def published_row(name: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    """Name, seeds, accuracies after the last epoch, and the best epoch."""
    runs = list(row["runs"].values())
    accuracies = (last_epoch(runs, split) for split in SPLITS)
    return name, str(len(runs)), *accuracies, best_epoch(runs)


def of_others(row: Mapping[str, Any]) -> str:
    """The published figure, its source, and which epoch it is of."""
    published = row["published"]
    if not published:
        return "-"
    return f"{published['accuracy']:g} ({published['source']}; epoch: {published['epoch']})"


def last_epoch(runs: Sequence[Mapping[str, Any]], split: str) -> str:
    """Accuracy over the seeds; of a single one with the interval of its test images."""
    if len(runs) > 1:
        return over_seeds([100 * run["scores"][split]["accuracy"] for run in runs])
    accuracy, low, high = (
        100 * runs[0]["scores"][split][one] for one in ("accuracy", "low", "high")
    )
    return f"{accuracy:.1f} [{low:.1f}, {high:.1f}]"


def best_epoch(runs: Sequence[Mapping[str, Any]]) -> str:
    """Mean of the seeds' best test accuracies on all classes, and the epochs they are of."""
    best = [run["best"] for run in runs if run.get("best")]
    if not best:
        return "-"
    mean = 100 * sum(one["all"] for one in best) / len(best)
    return f"{mean:.1f} ({', '.join(str(one['epoch']) for one in best)})"


def official_code(found: Mapping[str, Any] | None) -> str:
    """What the authors' own code reached on our images: last and best epoch, and which code."""
    if found is None:
        return "-"
    return f"{100 * found['last']:.1f}, best {100 * found['best']:.1f} ({found['code']})"


def minutes(runs: Sequence[Mapping[str, Any]]) -> str:
    """Mean duration of the runs."""
    return f"{sum(run['seconds'] for run in runs) / len(runs) / 60:.1f}"


def results_table(rows: Mapping[str, Any]) -> str:
    """Accuracies in percent, mean over seeds with its 95 % interval where there are three or more.

    An interval over two seeds spans most of the scale and says nothing; both values stand
    in its place.
    """
    shown = [name for name in rows if rows[name]["runs"]]
    columns = ("row", "n", *SPLITS, "minutes", "command, without images, seed and paths")
    return table(columns, (results_row(name, rows[name]) for name in shown))


def search_table(runs: Mapping[str, Any]) -> str:
    """Accuracies in percent on the validation images, a row for each run."""
    rows = (
        (name, *(f"{100 * run['validation'][split]['accuracy']:.1f}" for split in SPLITS))
        for name, run in runs.items()
    )
    return table(("variant", *SPLITS), rows)


def fast_paths_table(students: Sequence[Mapping[str, Any]]) -> str:
    """Accuracy of the same students without and with what makes them fast, and the differences."""
    plain, *fast = students[0]
    of = {
        path: [
            [100 * records[path]["scores"][split]["accuracy"] for records in students]
            for split in SPLITS
        ]
        for path in (plain, *fast)
    }
    rows = [(path, str(len(students)), *map(over_seeds, of[path])) for path in of]
    for path in fast:
        pairs = zip(of[path], of[plain], strict=True)
        differences = [[a - b for a, b in zip(*pair, strict=True)] for pair in pairs]
        name = f"{path} minus {plain}"
        rows.append((name, str(len(students)), *map(over_seeds, differences)))
    return table(("computed in", "n", *SPLITS), rows)


def consistency_table(rows: Mapping[str, Any]) -> str:
    """Accuracies in percent, and their differences from 16 views with outputs of their own.

    Differences are taken seed by seed, since teacher and student begin alike.
    """
    columns = ("row", "n", *SPLITS, "all, difference to 16 views", "tail, difference to 16 views")
    lines = []
    for name, row in rows.items():
        if not row["runs"]:
            continue
        runs, same = row["runs"], rows[f"{name.partition(',')[0]}, 16 views"]["runs"]
        of = {
            split: [100 * run["scores"][split]["accuracy"] for run in runs.values()]
            for split in SPLITS
        }
        pairs = {
            split: [
                100 * (run["scores"][split]["accuracy"] - other["scores"][split]["accuracy"])
                for run in runs.values()
                for other in same.values()
                if run["seed"] == other["seed"] and run is not other
            ]
            for split in ("all", "tail")
        }
        cells = [over_seeds(values) if values else "-" for values in pairs.values()]
        accuracies = (over_seeds(of[split]) for split in SPLITS)
        lines.append((name, str(len(runs)), *accuracies, *cells))
    return table(columns, lines) + not_run_yet(rows)


def faults_table(campaign: Mapping[str, Any]) -> str:
    """How many cases of each area were tried, and how many ended as they must.

    Of which commit a row is, where any row says it.
    """
    areas = campaign["areas"]
    rows = [
        (name, *(f"{number:,}" for number in (area["tried"], area["survived"], len(area["wrong"]))))
        for name, area in areas.items()
    ]
    columns = ("what was done", "tried", "survived", "wrong")
    if not any(area.get("commit") for area in areas.values()):
        return table(columns, rows)
    commits = [tried_commit(area) for area in areas.values()]
    rows = [(*row, commit) for row, commit in zip(rows, commits, strict=True)]
    return table((*columns, "commit"), rows)


def tried_commit(area: Mapping[str, Any]) -> str:
    """The commit that an area was tried at, and the day; `-` where it is not known."""
    if not area.get("commit"):
        return "-"
    changed = " with changes" if area["changed"] else ""
    return f"{area['commit'][:10]}{changed}, {area['date']}"


def results_row(name: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    """One row of results, from the scores that its runs recorded at their last epoch."""
    runs = list(row["runs"].values())
    cells = (
        over_seeds([100 * run["scores"][split]["accuracy"] for run in runs]) for split in SPLITS
    )
    return name, str(len(runs)), *cells, minutes(runs), f"`{row['arguments']}`"


def over_seeds(values: list[float]) -> str:
    """Mean and interval, or mean and both values of two."""
    mean, low, high = interval_over_seeds(values)
    if len(values) == 2:
        return f"{mean:.1f} ({', '.join(f'{value:.1f}' for value in values)})"
    return f"{mean:.1f}" if low is None else f"{mean:.1f} [{low:.1f}, {high:.1f}]"


def datasets_table() -> str:
    """The datasets of a cache, as the format's specification lists them."""
    return table(("dataset", "type", "shape", "meaning"), datasets(layout.__doc__ or ""))


def datasets(specification: str) -> Iterator[tuple[str, str, str, str]]:
    """Name, type, shape and meaning of every dataset in the text of the specification."""
    entry = re.compile(r"^    (\w+) +(\w\d) (\[[^]]*\]) +(.*(?:\n {20,}.*)*)", re.MULTILINE)
    for name, kind, shape, meaning in entry.findall(specification):
        yield f"`{name}`", kind, shape, " ".join(meaning.split())


def sizes_table() -> str:
    """Bytes of caches of well-known image sets, with features and without."""
    columns = ("image set", "stored", "bytes per entry", "1 view", "16 views")
    rows = (
        size_row(image_set, features)
        for image_set in IMAGE_SETS
        for features in (image_set.features, 0)
    )
    return table(columns, rows)


def size_row(image_set: ImageSet, features: int) -> tuple[str, ...]:
    """Bytes of an entry, and of files with 1 and 16 views, as float16."""
    labels = np.zeros(image_set.images, np.int32)
    one, many = (Layout.even(labels, image_set.classes, views, features) for views in (1, 16))
    stored = f"{image_set.classes} logits"
    if features:
        stored += f", {features} features ({image_set.teacher})"
    sizes = (sum(part.size for part in cache.datasets().values()) for cache in (one, many))
    name = f"{image_set.name}, {image_set.images:,} images"
    return name, stored, f"{one.entry_size:,}", *map(megabytes, sizes)


def megabytes(size: int) -> str:
    """Bytes in MB or GB."""
    return f"{size / 1e6:,.1f} MB" if size < 1e9 else f"{size / 1e9:,.1f} GB"


def listing(path: Path) -> str:
    """A Python file as a code block."""
    return f"```python\n{path.read_text().strip()}\n```"


def table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table; nothing where it has no rows."""
    columns = tuple(columns)
    lines = [row_line(row) for row in rows]
    head = [row_line(columns), row_line("---" for _ in columns)]
    return "\n".join([*head, *lines]) if lines else ""


def row_line(cells: Iterable[str]) -> str:
    """One row of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    main()
