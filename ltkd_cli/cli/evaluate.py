"""`ltkd eval` and `ltkd runs`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import UsageError
from . import options
from .train import DEFAULT_RUNS


def _refuse_on(value: str | None) -> None:
    if value is not None:
        raise UsageError("--on of eval is now called --images.", f"--images {value}")


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
    images: Annotated[
        str,
        typer.Option(help="Which images to score on: test, or validation for those held out."),
    ] = "test",
    as_json: options.AsJson = False,
    fail_under: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SPLIT=SHARE", help="Exit with 5 when an accuracy is lower; repeatable."
        ),
    ] = None,
    runs: options.Runs = DEFAULT_RUNS,
    device: options.Device = "auto",
    on: Annotated[str | None, typer.Option(hidden=True, callback=_refuse_on)] = None,
) -> None:
    """Score head, medium and tail classes of runs, or of the teacher behind a cache."""
    from .. import console
    from ..commands import evaluate as scoring

    names = scoring.splits(split)
    least = scoring.thresholds(fail_under or [])
    found = console.follow(scoring.score(runs, which or [], device, images))
    if as_json:
        console.document(console.scores_document(found, names))
    else:
        console.print_scores(found, names)
    scoring.check_thresholds(found.scored, least)


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
