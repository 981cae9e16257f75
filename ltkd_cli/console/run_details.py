"""One run: settings, teachers, scores, files and how to repeat it. Nothing here loads PyTorch."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from typing import Any

from ..commands.lineage import Ancestor, Details
from ..errors import command
from ..files import in_bytes
from ..splits import SPLITS
from . import terminal

PARTS = {"data": "Images", "recipe": "Recipe", "options": "Options of the method"}
"""Settings that have fields of their own, and what those are called."""

FITTED = ("strength", "temperature")
"""What a rebalancing found by itself where it was not given."""

MEASURES = {"macro_f1": "macro F1", "nll": "negative log-likelihood", "ece": "calibration error"}


def print_details(details: Details) -> None:
    """Everything about a run, to stdout."""
    run = details.run
    terminal.facts(f"{run.path}", _about(details), to=terminal.STDOUT)
    for title, key in (("Test accuracy", "scores"), ("Validation accuracy", "validation_scores")):
        if scores := run.record.get(key):
            _print_scores(title, scores)  # type: ignore[arg-type]
    sources = [*_lines(details.ancestors)] or [("no teacher", "")]
    terminal.facts("Learned from", sources, to=terminal.STDOUT)
    own = {name: value for name, value in run.settings.items() if name not in PARTS}
    terminal.facts("Settings", _listed(own), to=terminal.STDOUT)
    for name, title in PARTS.items():
        if values := run.settings.get(name):
            terminal.facts(title, _listed(values), to=terminal.STDOUT)
    files = [(name, in_bytes(size)) for name, size in details.files.items()]
    terminal.facts("Files", files, to=terminal.STDOUT)
    if details.repeat:
        threads = run.record.get("threads")
        again = f"OMP_NUM_THREADS={threads} {details.repeat}" if threads else str(details.repeat)
        terminal.facts("To repeat it", [("type", again)], to=terminal.STDOUT)


def run_document(details: Details) -> dict[str, Any]:
    """The same for programs: run.json, and what is known beside it."""
    run = details.run
    return {
        **run.record,
        "name": run.name,
        "path": str(run.path),
        "status": run.status,
        "warnings": list(run.warnings),
        "ancestors": [dataclasses.asdict(each) for each in details.ancestors],
        "files": details.files,
        "repeat": details.repeat and str(details.repeat),
    }


def _about(details: Details) -> Iterable[tuple[str, str]]:
    run = details.run
    record = run.record
    yield "kind", f"{run.kind}, {run.status}"
    yield "began", run.created.isoformat(sep=" ", timespec="seconds")
    if typed := record.get("command"):
        yield "by", str(command(*typed[1:]))
    if "data" in record:
        images = record["data"]
        yield "images", f"{images['name']}, {len(images['class_names'])} classes"
    for stage in record.get("rebalanced", []):
        told = {name: value for name, value in stage["options"].items() if value is not None}
        words = [stage["how"], *(f"{name} {value}" for name, value in told.items())]
        words += [f"{name} {stage[name]:.3g}" for name in FITTED if name in {*stage} - {*told}]
        yield "rebalanced by", ", ".join(words)
    if "parameters" in record:
        yield "parameters", f"{record['parameters']:,}"
    if record.get("seconds"):
        yield "time", terminal.duration(record["seconds"])
    environment = record.get("environment", {})
    yield (
        "machine",
        ", ".join(
            f"{name} {environment[name]}"
            for name in ("ltkd", "torch", "device")
            if name in environment
        ),
    )


def _listed(values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What is set, one a line."""
    for name, value in values.items():
        if value not in ("", [], None):
            yield name.replace("_", " "), _value(value)


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _lines(ancestors: Iterable[Ancestor], depth: int = 0) -> Iterator[tuple[str, str]]:
    """A line for each ancestor, indented by how far away it is."""
    for each in ancestors:
        where = each.path or "not found here"
        if each.path and not each.there:
            where += ", which is not there any more"
        where = where if each.kind in ("run", "cache") else ""  # of other files no place is known
        known = (each.what, where, f"SHA-256 {each.sha256[:16]}")
        yield "  " * depth + f"{each.kind} {each.name}", "; ".join(filter(None, known))
        yield from _lines(each.ancestors, depth + 1)


def _print_scores(title: str, scores: dict[str, Any]) -> None:
    rows = [(name, *_accuracy(scores[name])) for name in SPLITS]
    rows.append(("balanced", *_accuracy(scores["balanced_accuracy"])))
    terminal.table((title, "%", "95 % interval", "images", "classes"), rows)
    rest = (f"{words} {scores[name]:.3f}" for name, words in MEASURES.items())
    terminal.result(", ".join(rest))


def _accuracy(found: dict[str, Any]) -> tuple[str, ...]:
    ends = f"[{terminal.percent(found['low'])}, {terminal.percent(found['high'])}]"
    shown = terminal.percent(found["accuracy"])
    interval = "" if found["accuracy"] is None else ends
    return shown, interval, f"{found['images']:,}", f"{found['classes']:,}"
