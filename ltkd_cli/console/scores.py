"""Scores of runs, one by one or over seeds, with their intervals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..commands.evaluate import Scored, by_setting
from ..data.groups import GROUP_NAMES
from ..metrics import interval_over_seeds
from . import terminal as console

MEASURES = ("balanced_accuracy", "macro_f1", "nll", "ece")
"""Beside the accuracies by group; the first two in percent."""

NAMES = {
    "balanced_accuracy": "balanced",
    "macro_f1": "macro-F1",
    "nll": "NLL",
    "ece": "ECE",
}
"""Headings of the measures."""

Bounds = tuple[float, float | None, float | None]
"""Mean, and the ends of its 95 % interval where it has one."""


def print_scores(scored: list[Scored], splits: tuple[str, ...]) -> None:
    """A row for each setting: one run with its intervals, or the mean and interval over seeds.

    Where the terminal is too narrow for that, two tables, with the intervals below the means.
    """
    settings = by_setting(scored)
    measures = MEASURES if len(splits) > 1 else ()
    named = [(_name(group), group[0].method, group[0].model) for group in settings]
    measured = [tuple(_measure_cell(group, name) for name in measures) for group in settings]
    headings = ("run", "method", "model")
    measure_headings = tuple(NAMES[name] for name in measures)
    one_line = _accuracies(settings, splits, _beside)
    columns = (*headings, *splits, *measure_headings)
    rows = [(*a, *b, *c) for a, b, c in zip(named, one_line, measured, strict=True)]
    if console.fits(columns, rows):
        console.table(columns, rows, words=3)
    else:
        below = _accuracies(settings, splits, _below)
        console.table(("run", *splits), [(a[0], *b) for a, b in zip(named, below, strict=True)])
        console.result("")
        rows = [(*a, *c) for a, c in zip(named, measured, strict=True)]
        console.table((*headings, *measure_headings), rows, words=3)
    console.result("")
    for line in _footnotes(scored, settings, splits):
        console.result(line)


def scores_document(scored: list[Scored], splits: tuple[str, ...]) -> dict[str, Any]:
    """The same for programs; shares in [0, 1]."""
    return {
        "results": [_result(one, splits) for one in scored],
        "settings": [_setting(group, splits) for group in by_setting(scored)],
    }


def _name(group: list[Scored]) -> str:
    first = group[0]
    if len(group) > 1:
        return f"{len(group)} runs: {first.name}, ..."
    return f"{first.name} (teacher)" if first.kind == "cache" else first.name


def _accuracies(
    settings: list[list[Scored]], splits: tuple[str, ...], cell: Callable[[Bounds], str]
) -> list[tuple[str, ...]]:
    return [tuple(_accuracy_cell(group, split, cell) for split in splits) for group in settings]


def _accuracy_cell(group: list[Scored], split: str, cell: Callable[[Bounds], str]) -> str:
    bounds = _bounds(group, split)
    return "n/a (0 classes)" if bounds is None else cell(bounds)


def _bounds(group: list[Scored], split: str) -> Bounds | None:
    """The accuracy with Wilson's interval for one run, Student's t for several; None if empty."""
    found = [one.scores.splits[split] for one in group]
    values = [accuracy.accuracy for accuracy in found if accuracy.accuracy is not None]
    if len(values) < len(found):
        return None
    if len(values) == 1:
        return values[0], found[0].low, found[0].high
    return interval_over_seeds(values)


def _beside(bounds: Bounds) -> str:
    mean, low, high = (console.percent(value) for value in bounds)
    return f"{mean} [{low}, {high}]"


def _below(bounds: Bounds) -> str:
    mean, low, high = (console.percent(value) for value in bounds)
    return f"{mean}\n{low}-{high}"


def _measure_cell(group: list[Scored], measure: str) -> str:
    mean = sum(_measure(one, measure) for one in group) / len(group)
    return f"{mean:.3f}" if measure in ("nll", "ece") else console.percent(mean)


def _measure(one: Scored, measure: str) -> float:
    value = one.scores.as_dict()[measure]
    return float(value["accuracy"] if measure == "balanced_accuracy" else value)


def _footnotes(
    scored: list[Scored], settings: list[list[Scored]], splits: tuple[str, ...]
) -> list[str]:
    first = scored[0]
    what = [f"Accuracy in percent after the last epoch, on the {first.data}"]
    if any(len(group) == 1 for group in settings):
        what.append("95 % interval of one run: Wilson's, over these images")
    if any(len(group) > 1 for group in settings):
        what.append("mean and 95 % interval of several runs: Student's t, over their seeds")
    lines = ["; ".join(what) + "."]
    if shown := [name for name in splits if name in GROUP_NAMES]:
        told: dict[str, list[str]] = {}
        for one in scored:
            told.setdefault(_groups_in_words(one, shown), []).append(one.name)
        for words, names in told.items():
            of = f" of {', '.join(names)}" if len(told) > 1 else ""
            lines.append(f"Groups{of}: {words}")
    if len({one.data for one in scored}) > 1:
        rows = "; ".join(f"{one.name}: {one.data}" for one in scored)
        lines.append(f"The rows are not about the same images: {rows}.")
    return lines


def _groups_in_words(one: Scored, shown: list[str]) -> str:
    """The rule of the groups, and how many test images and classes are in each."""
    sizes = one.scores.splits
    counted = ", ".join(f"{name} {sizes[name].images:,} in {sizes[name].classes}" for name in shown)
    return f"{one.groups}. Images in classes: {counted}."


def _result(one: Scored, splits: tuple[str, ...]) -> dict[str, Any]:
    scores = one.scores.as_dict()
    kept = {name: scores[name] for name in (*splits, *MEASURES)}
    return {
        "name": one.name,
        "kind": one.kind,
        "model": one.model,
        "method": one.method,
        "data": one.data,
        "groups": one.groups,
        "seed": one.seed,
        "seconds": one.seconds,
        **kept,
    }


def _setting(group: list[Scored], splits: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "method": group[0].method,
        "model": group[0].model,
        "runs": [one.name for one in group],
        "n": len(group),
        "interval": "over the images" if len(group) == 1 else "over the runs",
    }
    for split in splits:
        if (bounds := _bounds(group, split)) is not None:
            found[split] = dict(zip(("mean", "low", "high"), bounds, strict=True))
    return found
