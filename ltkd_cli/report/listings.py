"""What there is: runs, methods, image sets, caches."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.markup import escape

from .. import console
from ..cache import Cache
from ..console import percent
from ..data import Data
from ..method import Method, all_names, find, options, source_of
from ..pipeline.caches import views_per_image
from ..runs import Run
from ..splits import GROUP_NAMES, gini, imbalance_factor

BAR = 40
"""Width of the longest bar of the histogram, in characters."""

MOST_BARS = 40
"""Classes that get a bar of their own; beyond it neighbours share one."""


def print_run(run: Run) -> None:
    """What a finished run reached, and the next command."""
    scores = run.record["scores"]
    rows = [(name, percent(scores[name]["accuracy"])) for name in ("all", *GROUP_NAMES)]
    text = ", ".join(f"{name} {value}" for name, value in rows)
    console.STDOUT.print(
        f"{run.name}: test accuracy {text} (%), {run.record['seconds']:,.0f} s", soft_wrap=True
    )
    following = "ltkd export-logits" if run.kind == "teach" else "ltkd eval --split tail"
    console.note(f"next: {following}")


def print_runs(found: Iterable[Run], root: Path) -> None:
    """A line for every run, oldest first."""
    rows = [_run_row(run) for run in found]
    if not rows:
        console.note(f"There are no runs in {root} yet. Begin with: ltkd teach")
        return
    columns = ("run", "images", "status", *("all", *GROUP_NAMES), "minutes")
    console.table("", columns, rows, "test accuracy in percent")


def print_methods() -> None:
    """A line for every method."""
    rows = [
        (
            name,
            _needs(method),
            method.sampler,
            method.teacher if method.needs else "-",
            _title(method),
        )
        for name in all_names()
        for method in [find(name)]
    ]
    console.table("", ("method", "needs", "sampler", "teacher", "what it is"), rows)
    console.note("One with its formula, options and source: ltkd methods bkd")


def print_method(name: str) -> None:
    """Everything about one method."""
    method = find(name)
    console.STDOUT.print(f"[bold]{name}[/]\n")
    console.STDOUT.print(escape(inspect.cleandoc(method.__doc__ or "")) + "\n")
    console.facts(
        "It asks for",
        [
            ("from the cache", _needs(method)),
            ("sampling", method.sampler),
            ("teacher trained by", method.teacher if method.needs else "-"),
            ("last layer", method.head),
        ],
        to=console.STDOUT,
    )
    rows = [(f"{option.name}={option.default}", option.help) for option in options(method)]
    console.STDOUT.print()
    console.facts("Options, for --set", rows or [("none", "")], to=console.STDOUT)


def methods_document(name: str | None) -> Any:
    """The same for programs: one method, or all in a list."""
    if name is not None:
        return _method_document(name)
    return [_method_document(each) for each in all_names()]


def print_data(data: Data) -> None:
    """Counts, imbalance, groups and a histogram of an image set."""
    counts = data.train.class_counts()
    height, width = data.train.images.size
    console.facts(
        data.name,
        [
            ("training images", f"{sum(counts):,} of {height} x {width} pixels"),
            (f"{data.test.split} images", f"{len(data.test.labels):,}"),
            ("classes", f"{len(counts)}, {max(counts):,} to {min(counts):,} images each"),
            ("imbalance factor", f"{imbalance_factor(counts):.4g}"),
            ("Gini coefficient", f"{gini(counts):.3f}"),
            ("groups", f"{data.groups.describe()}: {_group_sizes(data)}"),
            ("views", data.views),
            ("fingerprint", data.train.fingerprint[:16]),
        ],
        to=console.STDOUT,
    )
    console.STDOUT.print()
    for line in _histogram(data, counts):
        console.STDOUT.print(line, soft_wrap=True)


def data_document(data: Data) -> dict[str, Any]:
    """The same for programs."""
    counts = data.train.class_counts()
    test_counts = data.test.class_counts()
    return {
        "name": data.name,
        "train_images": sum(counts),
        "test_images": sum(test_counts),
        "test_split": data.test.split,
        "image_size": list(data.train.images.size),
        "imbalance_factor": imbalance_factor(counts),
        "gini": gini(counts),
        "group_rule": data.groups.rule,
        "fingerprint": data.train.fingerprint,
        "classes": [
            {"class": name, "train": counts[c], "test": test_counts[c], "group": group}
            for c, (name, group) in enumerate(
                zip(data.train.class_names, data.groups.of_class, strict=True)
            )
        ],
    }


def print_cache(cache: Cache) -> None:
    """What a cache holds and whose answers they are."""
    held = cache.attributes
    rows = [
        (name, str(held[name]))
        for name in sorted(held)
        if name not in ("class_names", "class_counts", "groups", "teacher_scores")
    ]
    fewest, most = views_per_image(cache)
    views = str(most) if fewest == most else f"{fewest} to {most}"
    shape = f"{cache.layout.rows:,} images, {views} views each"
    scores = held.get("teacher_scores", {})
    known = [name for name in ("all", *GROUP_NAMES) if name in scores]
    said = ", ".join(f"{name} {percent(scores[name]['accuracy'])}" for name in known)
    console.facts(
        str(cache.path),
        [
            ("holds", f"{shape}, {cache.layout.classes} classes, {cache.layout.width} features"),
            ("bytes", f"{cache.path.stat().st_size:,}"),
            ("teacher's test accuracy", said or "not known"),
            *rows,
        ],
        to=console.STDOUT,
    )


def _run_row(run: Run) -> tuple[str, ...]:
    scores = run.record.get("scores")
    shares = [percent(scores[name]["accuracy"]) if scores else "" for name in ("all", *GROUP_NAMES)]
    name = run.record.get("data", {}).get("name", "")
    minutes = f"{run.record.get('seconds', 0.0) / 60:.1f}"
    return (run.name, name, run.record["status"], *shares, minutes)


def _method_document(name: str) -> dict[str, Any]:
    method = find(name)
    return {
        "name": name,
        "needs": sorted(method.needs),
        "sampler": method.sampler,
        "teacher": method.teacher if method.needs else None,
        "head": method.head,
        "source": source_of(method),
        "description": inspect.cleandoc(method.__doc__ or ""),
        "options": [
            {"name": o.name, "type": o.kind.__name__, "default": o.default, "help": o.help}
            for o in options(method)
        ],
    }


def _needs(method: type[Method]) -> str:
    return " and ".join(sorted(method.needs, reverse=True)) or "-"


def _title(method: type[Method]) -> str:
    """The first sentence of the file's docstring, which says what the method is."""
    module = inspect.getmodule(method)
    return inspect.cleandoc(module.__doc__ or "").split("\n")[0].rstrip(".") if module else ""


def _group_sizes(data: Data) -> str:
    return ", ".join(f"{name} {len(data.groups.classes(name))} classes" for name in GROUP_NAMES)


def _histogram(data: Data, counts: list[int]) -> Iterable[str]:
    """One bar for each class, or for each run of neighbours where there are many."""
    colours = {"head": "green", "medium": "yellow", "tail": "red"}
    share = -(-len(counts) // MOST_BARS)
    names = data.train.class_names
    label_width = min(20, max(len(name) for name in names))
    for begin in range(0, len(counts), share):
        part = counts[begin : begin + share]
        mean = sum(part) / len(part)
        bar = "█" * max(1, round(BAR * mean / max(counts)))
        name = names[begin] if share == 1 else f"{begin}-{begin + len(part) - 1}"
        colour = colours[data.groups.of_class[begin]]
        yield f"  {escape(name[:20]):>{label_width}} [{colour}]{bar}[/] {mean:,.0f}"
