"""Runs: what they reached, and the list of them. Nothing here loads PyTorch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import runs
from ..errors import RunError, command
from ..runs import Run
from ..splits import SPLITS
from . import terminal


def print_run(run: Run) -> None:
    """Where a finished run lies, and what it reached."""
    if held_out := run.record.get("validation_scores"):
        terminal.note(f"  validation accuracy {_reached(held_out)}")
    terminal.result(
        f"{run.path}: test accuracy {_reached(run.record['scores'])}, "
        f"{terminal.duration(run.record['seconds'])}"
    )


def print_next(made: Sequence[Run]) -> None:
    """The command that follows on runs that one command has made."""
    root, (first, *others) = made[0].path.parent, made
    if others:
        following = ["eval", *(run.name for run in made)]
    else:
        teacher = first.kind == "teach"
        newest = runs.newest(root, "teach" if teacher else None)
        named = [] if newest.path == first.path else [first.name]
        following = ["export-logits", *named] if teacher else ["eval", *named, "--split", "tail"]
    elsewhere = [] if root == Path("runs") else ["--runs", str(root)]
    terminal.follows(command(*following, *elsewhere))


def print_runs(found: Iterable[Run], root: Path) -> None:
    """A line for every run, oldest first."""
    rows = [_row(run) for run in found]
    if not rows:
        terminal.note(f"There are no runs in {root} yet. Begin with: {command('teach')}")
        return
    terminal.table(("run", "images", *SPLITS, "time"), rows, words=2)
    terminal.note("all, head, medium and tail: test accuracy in percent")


def runs_document(found: Iterable[Run], odd: Mapping[str, RunError]) -> list[dict[str, Any]]:
    """The same for programs, with the warnings on each run; unreadable ones follow at the end."""
    read = [
        {
            **run.record,
            "name": run.name,
            "status": run.status,
            "warnings": list(run.warnings),
        }
        for run in found
    ]
    unreadable = [
        {
            "name": name,
            "status": "unreadable",
            "warnings": [error.problem],
            "hint": str(error.hint),
        }
        for name, error in odd.items()
    ]
    return read + unreadable


def warn_of_runs(found: Sequence[Run], odd: Mapping[str, RunError]) -> None:
    """What a person should know of the runs that are listed, and of those that cannot be."""
    if old := sum(not run.has_checksum for run in found):
        terminal.warn(
            f"Runs of version 0.1, without a checksum: {old:,}. Damage to their scores would go "
            "unnoticed."
        )
    for error in odd.values():
        terminal.warn(error.problem, error.hint)
    for run in found:
        if run.misdated:
            terminal.warn(run.misdated, "date")


def _reached(scores: dict[str, Any]) -> str:
    return terminal.accuracies({name: scores[name]["accuracy"] for name in SPLITS})


def _row(run: Run) -> tuple[str, ...]:
    images = run.record.get("data", {}).get("name", "")
    if (classes := run.settings.get("classes", "all")) != "all":
        images = f"{images}, {classes} classes only"
    if not run.done:
        return (run.name, images, "", "", "", "", run.status)
    scores = run.record["scores"]
    shares = [terminal.percent(scores[name]["accuracy"]) for name in SPLITS]
    return (run.name, images, *shares, terminal.duration(run.record["seconds"]))
