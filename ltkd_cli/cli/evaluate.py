"""`ltkd eval`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from . import options


@options.with_place
def evaluate(
    *,
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
        typer.Option(
            help="all, head (or many), medium, or tail (or few).", show_default="every one"
        ),
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
    runs: options.Runs = options.DEFAULT_RUNS,
    place: dict[str, Any],
    device: options.Device = "auto",
) -> None:
    """Score head, medium and tail classes of runs, or of the teacher behind a cache."""
    from .. import console
    from ..commands import evaluate as scoring
    from ..console.scores import print_scores, scores_document

    names = scoring.splits(split)
    least = scoring.thresholds(fail_under or [])
    asked = (runs, which or [], device, images, place)
    found = console.follow(scoring.score(*asked, console.decoding))
    if as_json:
        console.document(scores_document(found, names))
    else:
        print_scores(found, names)
    scoring.check_thresholds(found.scored, least)
