"""Scores of runs, one by one or over seeds, with their intervals."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ..cache.difference import ABSENT, differences
from ..commands.evaluate import Evaluation, Scored, by_setting
from ..data.groups import Groups
from ..metrics import accuracy_over_seeds
from ..splits import GROUP_NAMES
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

MAX_DIFFERENCES = 3
"""Fields that are named where two rows look alike but are of other settings."""

SPREADS = {
    1: "One run: 95 % interval over these images (Wilson).",
    2: "Two runs: mean and both values.",
    3: "Three runs or more: mean and 95 % interval over their seeds (Student's t).",
}
"""What stands beside an accuracy, by the number of runs."""

FINGERPRINT_LETTERS = 8
"""Of an image set's fingerprint, where rows are about several."""


@dataclass(frozen=True)
class Bounds:
    """An accuracy over the runs of one setting, in [0, 1]."""

    mean: float
    low: float | None
    high: float | None
    """Ends of the 95 % interval: Wilson's of one run, Student's t of three or more."""
    values: tuple[float, ...]
    """Of each run."""


def print_scores(found: Evaluation, splits: tuple[str, ...]) -> None:
    """A row for each setting: one run with its intervals, or the mean and interval over seeds.

    Where the terminal is too narrow for that, two tables, with the intervals below the means.
    """
    settings = by_setting(found.scored)
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
    for line in _footnotes(found.scored, settings, splits):
        console.result(line)


def scores_document(found: Evaluation, splits: tuple[str, ...]) -> dict[str, Any]:
    """The same for programs, with all warnings; shares in [0, 1]."""
    settings = by_setting(found.scored)
    return {
        "results": [_result(one, splits) for one in found.scored],
        "settings": [_setting(group, splits) for group in settings],
        "warnings": [*found.warnings, *_lookalikes(settings)],
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
    """The accuracy with its interval, where it has one; None if the split has no class."""
    found = [one.scores.splits[split] for one in group]
    values = tuple(accuracy.accuracy for accuracy in found if accuracy.accuracy is not None)
    if len(values) < len(found):
        return None
    if len(values) == 1:
        return Bounds(values[0], found[0].low, found[0].high, values)
    return Bounds(*accuracy_over_seeds(values), values)


def _beside(bounds: Bounds) -> str:
    if bounds.low is None:
        return f"{console.percent(bounds.mean)} ({_each(bounds)})"
    return f"{console.percent(bounds.mean)} [{_ends(bounds, ', ')}]"


def _below(bounds: Bounds) -> str:
    ends = _each(bounds) if bounds.low is None else _ends(bounds, "-")
    return f"{console.percent(bounds.mean)}\n{ends}"


def _each(bounds: Bounds) -> str:
    return ", ".join(map(console.percent, bounds.values))


def _ends(bounds: Bounds, between: str) -> str:
    return f"{console.percent(bounds.low)}{between}{console.percent(bounds.high)}"


def _measure_cell(group: list[Scored], measure: str) -> str:
    mean = sum(_measure(one, measure) for one in group) / len(group)
    return f"{mean:.3f}" if measure in ("nll", "ece") else console.percent(mean)


def _measure(one: Scored, measure: str) -> float:
    value = one.scores.as_dict()[measure]
    return float(value["accuracy"] if measure == "balanced_accuracy" else value)


def _footnotes(
    scored: list[Scored], settings: list[list[Scored]], splits: tuple[str, ...]
) -> Iterator[str]:
    sizes = {min(len(group), 3) for group in settings}
    images = {_images_in_words(one): one for one in scored}
    one_set = len({one.fingerprint for one in scored}) == 1
    where = f"the {scored[0].data}" if one_set else "the images below"
    yield f"Accuracy in percent after the last epoch, on {where}."
    yield " ".join(words for size, words in SPREADS.items() if size in sizes)
    if not one_set:
        yield from (
            f"Images of {_names(scored, words, _images_in_words)}: {words}." for words in images
        )
    yield from _group_lines(scored, [name for name in splits if name in GROUP_NAMES])
    yield from _lookalikes(settings)


def _images_in_words(one: Scored) -> str:
    mark = "not known" if one.fingerprint is None else one.fingerprint[:FINGERPRINT_LETTERS]
    return f"{one.data}, fingerprint {mark}"


def _names(scored: list[Scored], words: str, of: Callable[[Scored], str]) -> str:
    """The names of those that `of` says the words of."""
    return ", ".join(one.name for one in scored if of(one) == words)


def _group_lines(scored: list[Scored], shown: list[str]) -> Iterator[str]:
    """Every rule of groups that rows are scored by, with the rows where there are several."""
    if not shown:
        return

    def in_words(one: Scored) -> str:
        return _groups_in_words(one, shown)

    rules = dict.fromkeys(map(in_words, scored))
    for words in rules:
        of = f" of {_names(scored, words, in_words)}" if len(rules) > 1 else ""
        yield f"Groups{of}: {words}"
    if any(one.groups.rule == "rank" for one in scored):
        yield (
            "The many, medium and few of papers have fixed limits instead: "
            f"{Groups('counts', ()).describe()} (train with --groups counts)."
        )


def _groups_in_words(one: Scored, shown: list[str]) -> str:
    """The rule of the groups, and how many test images and classes are in each."""
    sizes = one.scores.splits
    parts = []
    for name in shown:
        unit = "class" if sizes[name].classes == 1 else "classes"
        parts.append(f"{name} {sizes[name].images:,} ({sizes[name].classes:,} {unit})")
    return f"{one.groups.describe()}. Images scored: {', '.join(parts)}."


def _lookalikes(settings: list[list[Scored]]) -> Iterator[str]:
    """Why rows of the same method and model are not one: what their settings differ in."""
    first_of: dict[tuple[str, str], Scored] = {}
    for group in settings:
        one = group[0]
        first = first_of.setdefault((one.method, one.model), one)
        if first is one or "cache" in (first.kind, one.kind):
            continue
        if found := _differences(first, one):
            yield f"{first.name} and {one.name} are not seeds of one setting: {_shown(found)}."
        else:
            yield f"{one.name} repeats {first.name}: it has the same seed and teacher."


def _differences(one: Scored, other: Scored) -> list[tuple[str, Any, Any]]:
    """Fields in which two settings differ; fingerprints only where nothing else says why."""
    found = differences(json.loads(one.setting), json.loads(other.setting))
    telling = [each for each in found if not {len(str(each[1])), len(str(each[2]))} & {64}]
    return telling or found


def _shown(found: list[tuple[str, Any, Any]]) -> str:
    shown = [
        f"{name.replace('settings.', '')} {_value(a)} and {_value(b)}"
        for name, a, b in found[:MAX_DIFFERENCES]
    ]
    more = len(found) - MAX_DIFFERENCES
    return "; ".join(shown) + (f"; and {more} more" if more > 0 else "")


def _value(value: Any) -> str:
    text = "none" if value is ABSENT else json.dumps(value)
    return text if len(text) <= 24 else f"{text[:20]}..."


def _result(one: Scored, splits: tuple[str, ...]) -> dict[str, Any]:
    scores = one.scores.as_dict()
    kept = {name: scores[name] for name in (*splits, *MEASURES)}
    return {
        "name": one.name,
        "kind": one.kind,
        "model": one.model,
        "method": one.method,
        "data": one.data,
        "fingerprint": one.fingerprint,
        "groups": one.groups.describe(),
        "group_rule": one.groups.rule,
        "seed": one.seed,
        "seconds": one.seconds,
        **kept,
    }


def _setting(group: list[Scored], splits: tuple[str, ...]) -> dict[str, Any]:
    intervals = {1: "over the images", 2: "none: two values"}
    found: dict[str, Any] = {
        "method": group[0].method,
        "model": group[0].model,
        "runs": [one.name for one in group],
        "n": len(group),
        "interval": intervals.get(len(group), "over the runs"),
    }
    for split in splits:
        if (bounds := _bounds(group, split)) is not None:
            found[split] = {
                "mean": bounds.mean,
                "low": bounds.low,
                "high": bounds.high,
                "values": list(bounds.values),
            }
    return found
