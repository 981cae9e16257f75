"""`ltkd rebalance`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from . import options

_RETRAINING = "Re-training (crt, lws, mislas)"


def _of_recipe(text: str, default: str = "the recipe's") -> Any:
    """An option that replaces a part of the recipe."""
    return typer.Option(help=text, show_default=default, rich_help_panel=_RETRAINING)


@options.with_place
def rebalance(
    *,
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN",
            help="A finished run: number, name or path.",
            show_default="the newest teacher or student",
        ),
    ] = None,
    strategy: Annotated[
        str,
        typer.Option(
            help="Post-hoc adjustment: tau-norm (divides each class's weights by a power of their "
            "norm) or logit-adjust (subtracts the log class frequencies). Classifier re-training: "
            "crt (a new classifier), lws (a learned scale for each class) or mislas (the "
            "classifier goes on, with more label smoothing for larger classes)."
        ),
    ] = "logit-adjust",
    strength: Annotated[
        float | None,
        typer.Option(
            help="tau of tau-norm and logit-adjust; the sources' own value is 1.",
            show_default="chosen from 0 to 2 on the validation images",
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
    recipe: Annotated[
        str | None,
        typer.Option(
            help="fast (batch-norm statistics of the backbone are frozen, so features are computed "
            "once), or a source's own: imagenet-lt; bag-of-tricks for crt and lws; cifar10-lt and "
            "cifar100-lt for mislas. In these the statistics move, but for cifar10-lt.",
            show_default="fast; mislas on CIFAR: the source's",
            rich_help_panel=_RETRAINING,
        ),
    ] = None,
    epochs: Annotated[int | None, _of_recipe("Epochs of class-balanced sampling.")] = None,
    batch_size: Annotated[int | None, _of_recipe("Images in a batch.")] = None,
    learning_rate: Annotated[float | None, _of_recipe("Highest learning rate.")] = None,
    weight_decay: Annotated[float | None, _of_recipe("Weight decay of what is trained.")] = None,
    smooth_head: Annotated[
        float | None,
        _of_recipe("mislas: label smoothing of the largest class.", "0.3; cifar100-lt 0.4"),
    ] = None,
    smooth_tail: Annotated[
        float | None,
        _of_recipe("mislas: label smoothing of the smallest class.", "0; cifar100-lt 0.1"),
    ] = None,
    classifier_share: Annotated[
        float | None,
        _of_recipe(
            "mislas: learning rate of the classifier, as a share of that of the scales.",
            "0.05; cifar10-lt 0.5, cifar100-lt 0.2",
        ),
    ] = None,
    evaluate_every: Annotated[
        int,
        typer.Option(
            help="Epochs of a re-training between evaluations on the images that were held out, "
            "or on the test set where none were; 0 to evaluate at the end only.",
        ),
    ] = 0,
    name: options.Name = None,
    runs: options.Runs = options.DEFAULT_RUNS,
    place: dict[str, Any],
    device: options.Device = "auto",
) -> None:
    """Reduce a trained network's bias towards large classes, by its last layer only."""
    from .. import console
    from .. import runs as run_folders
    from ..commands import rebalance as rebalancing
    from ..commands.rebalance_options import Rebalancing
    from ..console.runs import print_next, print_run

    if run is None:
        source = rebalancing.newest_source(runs)
        console.note(f"using the newest run, {source.name}")
    else:
        source = run_folders.find(runs, run)
    asked = Rebalancing(
        strategy, strength, validation, views, device, recipe=recipe, epochs=epochs,
        batch_size=batch_size, learning_rate=learning_rate, weight_decay=weight_decay,
        smooth_head=smooth_head, smooth_tail=smooth_tail, classifier_share=classifier_share,
        evaluate_every=evaluate_every, place=place,
    )  # fmt: skip
    made = console.follow(rebalancing.rebalance(runs, source, asked, name, console.decoding))
    print_run(made)
    print_next([made])
