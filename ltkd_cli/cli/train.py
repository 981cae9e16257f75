"""`ltkd teach` and `ltkd distill`."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UsageError
from . import options

if TYPE_CHECKING:
    from ..commands.settings import TrainSettings
    from ..commands.train import Watch

DEFAULT_RUNS = Path("runs")


@options.with_recipe
@options.with_data
def teach(
    *,
    context: typer.Context,
    model: options.Model = "resnet32",
    method: Annotated[str, typer.Option(help="A method that needs no teacher.")] = "ce",
    settings: options.Settings = None,
    head: options.Head = None,
    pretrained: options.Pretrained = False,
    views: Annotated[
        str | None,
        typer.Option(
            "--policy",
            help="View policy: none, crop or crop-flip.",
            show_default="the data set's",
        ),
    ] = None,
    augment: options.Augment = "none",
    classes: options.Classes = "all",
    seed: options.Seed = 0,
    name: options.Name = None,
    resume: options.Resume = None,
    runs: options.Runs = DEFAULT_RUNS,
    images: dict[str, Any],
    recipe_name: options.RecipeName = None,
    recipe: dict[str, Any],
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    compile: options.Compile = False,
    evaluate_every: options.EvaluateEvery = None,
    log_every: options.LogEvery = 0,
    tensorboard: options.TensorBoard = False,
    profile: options.Profile = False,
) -> None:
    """Train a teacher, or a baseline that has none."""
    if resume is not None:
        _go_on(context, runs, resume, log_every, tensorboard=tensorboard, profile=profile)
        return
    recipe = _recipe_fields(recipe)
    from ..commands import requests

    asked = requests.Training(
        kind="teach", images=_data_fields(images), model=model, method=method,
        options=settings or [], recipe_name=recipe_name, recipe=recipe, head=head,
        pretrained=pretrained, views=views, caches=[], seed=seed, device=device,
        precision=precision, evaluate_every=evaluate_every, augment=augment, classes=classes,
        compile=compile,
    )  # fmt: skip
    names = {seed: name}
    _train(runs, asked, names, log_every, jobs=1, tensorboard=tensorboard, profile=profile)


@options.with_recipe
@options.with_data
def distill(
    *,
    context: typer.Context,
    method: Annotated[str, typer.Option(help="See `ltkd methods`.")] = "bkd",
    cache: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="<path>",
            help="The teacher's answers; repeat it for several teachers.",
            show_default="the newest",
        ),
    ] = None,
    model: options.Model = "resnet20",
    settings: options.Settings = None,
    head: options.Head = None,
    pretrained: options.Pretrained = False,
    seed: options.Seed = 0,
    seeds: options.Seeds = None,
    jobs: options.Jobs = None,
    name: options.Name = None,
    resume: options.Resume = None,
    runs: options.Runs = DEFAULT_RUNS,
    images: dict[str, Any],
    recipe_name: options.RecipeName = None,
    recipe: dict[str, Any],
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    compile: options.Compile = False,
    evaluate_every: options.EvaluateEvery = None,
    log_every: options.LogEvery = 0,
    tensorboard: options.TensorBoard = False,
    profile: options.Profile = False,
) -> None:
    """Train a student from a cache, with no teacher in sight."""
    if resume is not None:
        _go_on(context, runs, resume, log_every, tensorboard=tensorboard, profile=profile)
        return
    if seeds is None and jobs is not None:
        hint = f"ltkd distill --seeds 0,1,2 --jobs {jobs}"
        raise UsageError("--jobs is for the several students of --seeds.", hint)
    if seeds is not None and _is_typed(context, "seed"):
        raise UsageError("--seed and --seeds exclude each other.", f"ltkd distill --seeds {seeds}")
    names = {seed: name} if seeds is None else _names_by_seed(seeds, name)
    recipe = _recipe_fields(recipe)
    from ..commands import requests

    asked = requests.Training(
        kind="distill", images=_data_fields(images), model=model, method=method,
        options=settings or [], recipe_name=recipe_name, recipe=recipe, head=head,
        pretrained=pretrained, views=None, caches=cache or [], seed=seed, device=device,
        precision=precision, evaluate_every=evaluate_every, compile=compile,
    )  # fmt: skip
    _train(runs, asked, names, log_every, jobs=jobs, tensorboard=tensorboard, profile=profile)


def _train(
    runs: Path,
    asked: Any,
    names: dict[int, str | None],
    log_every: int,
    *,
    jobs: int | None,
    tensorboard: bool,
    profile: bool,
) -> None:
    """A run for each seed of `names`, all from the same cache."""
    _quiet_profiler()
    from .. import console
    from .. import runs as run_folders
    from ..commands import prepare as preparing
    from ..commands import requests, several
    from ..commands import train as training

    for name in names.values():
        if name is not None:
            run_folders.check_name(runs, name)
    settings = console.follow(requests.resolve(runs, asked))
    watch = training.Watch(tensorboard, profile)
    jobs = several.how_many(jobs, len(names), settings.device)
    if jobs > 1:
        _train_several(runs, asked.kind, settings, names, jobs, log_every, watch)
        return
    made = []
    for seed, name in names.items():
        prepared = preparing.prepare(replace(settings, seed=seed), console.decoding)
        run = console.follow(training.start(runs, asked.kind, prepared, name, watch), log_every)
        console.print_run(run)
        made.append(run)
    console.print_next(made)


def _train_several(
    runs: Path,
    kind: str,
    settings: TrainSettings,
    names: dict[int, str | None],
    jobs: int,
    log_every: int,
    watch: Watch,
) -> None:
    """The same, with `jobs` students in training at any time."""
    from .. import console
    from ..commands import several

    begun = several.create(runs, kind, settings, names, jobs, console.decoding)
    created = console.follow(begun)
    with several.students(created, jobs, watch) as students:
        while run := console.follow(students.until_one_ends(), log_every):
            if run.done:
                console.print_run(run)
    console.print_next(list(created.values()))


def _quiet_profiler() -> None:
    """Keeps the remarks of torch's profiler from the screen; read when torch is loaded."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "10")


def _go_on(
    context: typer.Context,
    runs: Path,
    which: str,
    log_every: int,
    *,
    tensorboard: bool,
    profile: bool,
) -> None:
    _refuse_other_settings(context, which)
    _quiet_profiler()
    from .. import console
    from .. import runs as run_folders
    from ..commands import train as training

    if which == "last":
        run = run_folders.newest(runs, context.info_name, done=False)
    else:
        run = run_folders.find(runs, which)
    if run.done:
        console.note(f"{run.name} is finished; there is nothing to go on with.")
    else:
        watch = training.Watch(tensorboard, profile)
        run = console.follow(training.resume(run, console.decoding, watch), log_every)
    console.print_run(run)
    console.print_next([run])


def _refuse_other_settings(context: typer.Context, which: str) -> None:
    """Raises UsageError where an option beside --resume would be left unheard."""
    given = [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name not in ("resume", "runs", "log_every", "tensorboard", "profile")
        and _is_typed(context, parameter.name or "")
    ]
    if given:
        raise UsageError(
            f"A resumed run keeps its own settings, so {', '.join(given)} cannot be given.",
            f"ltkd {context.info_name} --resume {quote(which)}",
        )


def _is_typed(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _names_by_seed(seeds: str, name: str | None) -> dict[int, str | None]:
    """The name of the run of each seed; UsageError where `seeds` is no list of seeds."""
    try:
        numbers = [options.checked_seed(int(part), "--seeds 0,1,2") for part in seeds.split(",")]
    except ValueError:
        raise UsageError(f"--seeds takes whole numbers, not {seeds!r}.", "--seeds 0,1,2") from None
    if len(set(numbers)) < len(numbers):
        raise UsageError(f"--seeds {seeds} names a seed twice.", "--seeds 0,1,2")
    return {number: f"{name}-{number}" if name else name for number in numbers}


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
