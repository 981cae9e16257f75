"""Runs: what they reached, and the list of them. Nothing here loads PyTorch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .. import runs
from ..errors import command
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
