"""Scores of runs, one by one or over seeds, with their intervals."""

from __future__ import annotations

from typing import Any

from .. import console
from ..evaluate import interval_over_seeds
from ..pipeline.scoring import Scored, by_setting
from ..splits import GROUP_NAMES

MEASURES = ("balanced_accuracy", "macro_f1", "nll", "ece")
"""Beside the accuracies by group; the first two in percent."""

NAMES = {
    "all": "all",
    "balanced_accuracy": "balanced",
    "macro_f1": "macro-F1",
    "nll": "NLL",
    "ece": "ECE",
}


def print_scores(scored: list[Scored], splits: tuple[str, ...]) -> None:
    """A row for each setting: one run with its intervals, or the mean and interval over seeds."""
    measures = MEASURES if len(splits) > 1 else ()
    rows = [_row(group, splits, measures) for group in by_setting(scored)]
    columns = ("run", "method", "model", *(NAMES.get(n, n) for n in (*splits, *measures)))
    console.table("", columns, rows)
    for line in _footnotes(scored, splits):
        console.note(line)


def scores_document(scored: list[Scored], splits: tuple[str, ...]) -> dict[str, Any]:
    """The same for programs; shares in [0, 1]."""
    return {
        "results": [_result(one, splits) for one in scored],
        "settings": [_setting(group, splits) for group in by_setting(scored)],
    }


def _row(
    group: list[Scored], splits: tuple[str, ...], measures: tuple[str, ...]
) -> tuple[str, ...]:
    first = group[0]
    name = first.name if len(group) == 1 else f"{len(group)} seeds: {first.name}, ..."
    kind = f"{first.method} (teacher, from its cache)" if first.kind == "cache" else first.method
    cells = [_accuracy_cell(group, split) for split in splits]
    return (name, kind, first.model, *cells, *(_measure_cell(group, m) for m in measures))


def _accuracy_cell(group: list[Scored], split: str) -> str:
    values = [one.scores.as_dict()[split] for one in group]
    if values[0]["accuracy"] is None:
        return "n/a (0 classes)"
    if len(group) == 1:
        mean, low, high = (values[0][key] for key in ("accuracy", "low", "high"))
    else:
        mean, low, high = interval_over_seeds([value["accuracy"] for value in values])
    return f"{100 * mean:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def _measure_cell(group: list[Scored], measure: str) -> str:
    mean = sum(_measure(one, measure) for one in group) / len(group)
    return f"{mean:.3f}" if measure in ("nll", "ece") else f"{100 * mean:.1f}"


def _measure(one: Scored, measure: str) -> float:
    value = one.scores.as_dict()[measure]
    return float(value["accuracy"] if measure == "balanced_accuracy" else value)


def _footnotes(scored: list[Scored], splits: tuple[str, ...]) -> list[str]:
    first = scored[0]
    lines = [f"Accuracy in percent with its 95 % interval (one run: Wilson, over the test images; "
             f"several seeds: Student's t, over the seeds), last epoch, {first.data}."]  # fmt: skip
    if set(splits) & set(GROUP_NAMES):
        sizes = first.scores.as_dict()
        shown = [name for name in splits if name in GROUP_NAMES]
        counted = ", ".join(
            f"{name} {sizes[name]['classes']} classes with {sizes[name]['images']:,} test images"
            for name in shown
        )
        lines.append(f"Groups: {first.groups}; {counted}.")
    if len({one.data for one in scored}) > 1:
        lines.append("The rows are not about the same images: " + "; ".join(
            f"{one.name}: {one.data}" for one in scored) + ".")  # fmt: skip
    return lines


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
    }
    for split in splits:
        values = [one.scores.as_dict()[split]["accuracy"] for one in group]
        if values[0] is not None:
            mean, low, high = interval_over_seeds(values)
            found[split] = {"mean": mean, "low": low, "high": high}
    return found
