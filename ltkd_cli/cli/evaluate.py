"""`ltkd eval` and `ltkd runs`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options
from .train import DEFAULT_RUNS


def evaluate(
    which: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN|CACHE",
            help="Runs by number, name or path, and caches by path.",
            show_default="the newest run",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="all, head, medium or tail (many and few are known as well)."),
    ] = None,
    on: Annotated[
        str, typer.Option(help="test, or validation for the images that a run held out.")
    ] = "test",
    as_json: options.AsJson = False,
    fail_under: Annotated[
        list[str] | None,
        typer.Option(metavar="SPLIT=SHARE", help="Exit with 5 when an accuracy is lower."),
    ] = None,
    runs: options.Runs = DEFAULT_RUNS,
    device: options.Device = "auto",
) -> None:
    """Score head, medium and tail classes of runs, or of the teacher behind a cache."""
    from .. import console
    from ..commands import evaluate as scoring

    names = scoring.splits(split)
    least = scoring.thresholds(fail_under or [])
    scored = console.follow(scoring.score(runs, which or [], device, on))
    if as_json:
        console.document(console.scores_document(scored, names))
    else:
        console.print_scores(scored, names)
    scoring.check_thresholds(scored, least)


def runs(
    runs: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Folder of all runs.", envvar="LTKD_RUNS")
    ] = DEFAULT_RUNS,
    as_json: options.AsJson = False,
) -> None:
    """List the runs there are."""
    from .. import console
    from .. import runs as run_folders

    found, odd = run_folders.survey(runs)
    if as_json:
        console.document([{**run.record, "name": run.name, "status": run.status} for run in found])
    else:
        console.print_runs(found, runs)
    for error in odd:
        console.caution(f"{error.problem} Try: {error.hint}")
