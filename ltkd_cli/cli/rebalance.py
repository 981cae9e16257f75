"""`ltkd rebalance`."""

from __future__ import annotations

from typing import Annotated

import typer

from . import options


def rebalance(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN",
            help="A finished run: number, name or path.",
            show_default="the newest teacher or student",
        ),
    ] = None,
    how: Annotated[
        str,
        typer.Option(
            help="crt (a new classifier), lws (a scale for each class), mislas (the classifier "
            "trained on, its labels smoothed the more the larger the class), tau-norm (class "
            "weights of more equal length) or logit-adjust (less of the class counts in the bias)."
        ),
    ] = "logit-adjust",
    strength: Annotated[
        float | None,
        typer.Option(
            help="tau of tau-norm and logit-adjust (the sources' own value is 1), or the smoothing "
            "of the largest class in mislas.",
            show_default="tau: chosen from 0 to 2 on the validation images; mislas: 0.3",
        ),
    ] = None,
    validation: Annotated[
        int | None,
        typer.Option(
            help="Training images of each class to validate on, for a run that held none out.",
            show_default="100, fewer where there are many classes",
        ),
    ] = None,
    views: Annotated[
        int,
        typer.Option(help="Views of every image; the features of all of them are kept in memory."),
    ] = 8,
    name: options.Name = None,
    runs: options.Runs = options.DEFAULT_RUNS,
    device: options.Device = "auto",
) -> None:
    """Reduce a trained network's bias towards large classes, by its last layer only."""
    from .. import console
    from .. import runs as run_folders
    from ..commands import rebalance as rebalancing
    from ..console.runs import print_next, print_run

    if run is None:
        source = rebalancing.newest_source(runs)
        console.note(f"using the newest run, {source.name}")
    else:
        source = run_folders.find(runs, run)
    asked = rebalancing.Rebalancing(how, strength, validation, views, device)
    made = rebalancing.rebalance(runs, source, asked, name, console.decoding)
    second = console.follow(made)
    print_run(second)
    print_next([second])
