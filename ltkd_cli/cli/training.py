"""`ltkd teach` and `ltkd distill`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import UsageError
from . import options

DEFAULT_RUNS = Path("runs")


@options.with_recipe
@options.with_data
def teach(
    images: dict[str, Any],
    recipe: dict[str, Any],
    model: options.Model = "resnet32",
    method: Annotated[str, typer.Option(help="A method that needs no teacher.")] = "ce",
    settings: options.Settings = None,
    recipe_name: options.RecipeName = None,
    head: options.Head = None,
    pretrained: options.Pretrained = False,
    views: Annotated[
        str | None,
        typer.Option(help="View policy: none, crop or crop-flip.", show_default="the data set's"),
    ] = None,
    seed: options.Seed = 0,
    name: options.Name = None,
    resume: options.Resume = None,
    runs: options.Runs = DEFAULT_RUNS,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    evaluate_every: options.EvaluateEvery = None,
    log_every: options.LogEvery = 0,
) -> None:
    """Train a teacher, or a baseline that has none."""
    from ..pipeline import requests

    if resume is not None:
        _go_on(runs, resume, "teach", log_every)
        return
    asked = requests.Training(
        kind="teach", images=_data_fields(images), model=model, method=method,
        options=settings or [], recipe_name=recipe_name, recipe=_recipe_fields(recipe), head=head,
        pretrained=pretrained, views=views, caches=[], seed=seed, device=device,
        precision=precision, evaluate_every=evaluate_every,
    )  # fmt: skip
    _train(runs, asked, name, log_every)


@options.with_recipe
@options.with_data
def distill(
    images: dict[str, Any],
    recipe: dict[str, Any],
    method: Annotated[str, typer.Option(help="See `ltkd methods`.")] = "bkd",
    cache: Annotated[
        list[Path] | None,
        typer.Option(
            help="The teacher's answers; repeat it for several teachers.",
            show_default="the newest",
        ),
    ] = None,
    model: options.Model = "resnet20",
    settings: options.Settings = None,
    recipe_name: options.RecipeName = None,
    head: options.Head = None,
    pretrained: options.Pretrained = False,
    seed: options.Seed = 0,
    name: options.Name = None,
    resume: options.Resume = None,
    runs: options.Runs = DEFAULT_RUNS,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    evaluate_every: options.EvaluateEvery = None,
    log_every: options.LogEvery = 0,
) -> None:
    """Train a student from a cache, with no teacher in sight."""
    from ..pipeline import requests

    if resume is not None:
        _go_on(runs, resume, "distill", log_every)
        return
    asked = requests.Training(
        kind="distill", images=_data_fields(images), model=model, method=method,
        options=settings or [], recipe_name=recipe_name, recipe=_recipe_fields(recipe), head=head,
        pretrained=pretrained, views=None, caches=cache or [], seed=seed, device=device,
        precision=precision, evaluate_every=evaluate_every,
    )  # fmt: skip
    _train(runs, asked, name, log_every)


def _train(runs: Path, asked: Any, name: str | None, log_every: int) -> None:
    from .. import console, report
    from ..pipeline import requests, training

    settings = console.follow(requests.resolve(runs, asked))
    prepared = training.prepare(settings, console.decoding)
    run = console.follow(training.start(runs, asked.kind, prepared, name), log_every)
    report.print_run(run)


def _go_on(runs: Path, which: str, kind: str, log_every: int) -> None:
    from .. import console, report
    from .. import runs as run_folders
    from ..pipeline import training

    if which == "last":
        run = run_folders.newest(runs, kind, done=False)
    else:
        run = run_folders.find(runs, which)
    if run.done:
        console.note(f"{run.name} is finished; there is nothing to go on with.")
    else:
        run = console.follow(training.resume(run, console.decoding), log_every)
    report.print_run(run)


def _data_fields(images: dict[str, Any]) -> dict[str, Any]:
    return {options.DATA_FIELDS[name]: value for name, value in images.items()}


def _recipe_fields(recipe: dict[str, Any]) -> dict[str, Any]:
    if "milestones" not in recipe:
        return recipe
    try:
        milestones = tuple(float(share) for share in recipe["milestones"].split(",") if share)
    except ValueError:
        raise UsageError(
            f"--milestones takes shares of the training, not {recipe['milestones']!r}.",
            "--milestones 0.8,0.9",
        ) from None
    return {**recipe, "milestones": milestones}
