"""Options that several commands share, each defined once. Loads nothing heavy."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ..commands.settings import Settings
from ..errors import UsageError
from ..training.recipe import Recipe
from .fields import (
    DATA,
    MACHINE,
    PLACE,
    SETTINGS,
    check_seed,
    checked_epochs,
    checked_seed,
    recipe_option,
)
from .fields import Device as Device
from .fields import Precision as Precision
from .fields import Store as Store

DEFAULT_RUNS = Path("runs")

_SEEDS = "--seeds 0,1,2"


def parse_seeds(text: str) -> list[int]:
    """The seeds in `0,1,2`; UsageError where that is no list of different seeds."""
    try:
        seeds = [check_seed(int(part), _SEEDS) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--seeds takes whole numbers, not {text!r}.", _SEEDS) from None
    if len(set(seeds)) < len(seeds):
        raise UsageError(f"--seeds {text} names a seed twice.", _SEEDS)
    return seeds


def _checked_jobs(value: int | None) -> int | None:
    if value is not None and value < 1:
        raise UsageError(f"--jobs takes 1 or more students, not {value}.", "--jobs 2")
    return value


Runs = Annotated[
    Path, typer.Option(help="Folder of all runs.", envvar="LTKD_RUNS", show_default=True)
]
Name = Annotated[
    str | None, typer.Option(help="Folder name of the run.", show_default="a number and a label")
]
Resume = Annotated[
    str | None,
    typer.Option(
        help="Continue this run: number, name or path, or `last` for the newest unfinished one. "
        "Its settings are kept, but for --device and --resident; if its images have moved, add "
        "--data.",
        metavar="RUN",
    ),
]
Seeds = Annotated[
    str | None, typer.Option(metavar="0,1,2", help="Train several students, one for each seed.")
]
Jobs = Annotated[
    int | None,
    typer.Option(
        help="How many of the students of --seeds to train at the same time.",
        rich_help_panel=MACHINE,
        callback=_checked_jobs,
        show_default="one for each CPU thread; on a GPU 1",
    ),
]
LogEvery = Annotated[
    int,
    typer.Option(
        help="Print a line every so many epochs; 0 for none.",
        rich_help_panel=MACHINE,
        callback=checked_epochs,
    ),
]
TensorBoard = Annotated[
    bool,
    typer.Option(
        "--tensorboard", help="Write TensorBoard event files as well.", rich_help_panel=MACHINE
    ),
]
Profile = Annotated[
    bool,
    typer.Option(
        "--profile",
        help="Write a trace of a few steps and a table of what takes most of the time, and print "
        "its first rows.",
        rich_help_panel=MACHINE,
    ),
]
ViewSeed = Annotated[int, typer.Option(help="Random seed of the views.", callback=checked_seed)]
Force = Annotated[
    bool,
    typer.Option("--force", help="Accept a teacher that is no better than chance."),
]
Spec = Annotated[
    str | None,
    typer.Argument(metavar="SPEC", help="The images, as for --data.", show_default="digits-lt"),
]

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document, nothing else.")]


_RECIPE_FIELDS = tuple(field.name for field in dataclasses.fields(Recipe))

_OF_MACHINE = ("device", "precision", "compile", "resident", "evaluate_every")
"""Fields of Settings whose options every training command has."""


def with_data(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options that say which images, collected by field into its `images`."""
    return _collecting(command, "images", _data_options(), dict)


def add_spec(images: dict[str, Any], spec: str | None) -> None:
    """Puts the argument SPEC where `--data` is collected; UsageError where both are given."""
    if spec is None:
        return
    if "data" in images:
        raise UsageError(f"SPEC is {spec}, and --data names images as well.", "one of the two")
    images["data"] = spec


def with_place(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options that say where a run's images lie now, into its `place`."""
    parameters = (_parameter(name, annotation) for name, annotation in PLACE.items())
    return _collecting(command, "place", parameters, dict)


def with_settings(
    *names: str, hidden: Sequence[str] = (), **defaults: Any
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command the options of Settings, collected by field into its `given`.

    These are the ones in `names`, and those of images, recipe and machine. Their defaults are the
    fields' own unless `defaults` has another. Those of `hidden` fields of the recipe are not in
    the help, since the command refuses them with a reason.
    """
    known = {field.name: field.default for field in dataclasses.fields(Settings)}
    known = {name: value for name, value in known.items() if isinstance(value, str | int)}

    def option(name: str) -> inspect.Parameter:
        return _parameter(name, SETTINGS[name], {**known, **defaults}.get(name))

    options = [
        *map(option, names),
        *_data_options(),
        option("recipe_name"),
        *(_parameter(name, recipe_option(name, name in hidden)) for name in _RECIPE_FIELDS),
        *map(option, _OF_MACHINE),
    ]
    return lambda command: _collecting(command, "given", options, _nested)


def _nested(given: dict[str, Any]) -> dict[str, Any]:
    """The same with the fields of images and recipe in dictionaries of their own."""
    data = {name: given.pop(name) for name in [*given] if name in DATA}
    recipe = {name: given.pop(name) for name in [*given] if name in _RECIPE_FIELDS}
    return {**given, "data": data, "recipe": recipe}


def _collecting(
    command: Callable[..., None],
    into: str,
    options: Iterable[inspect.Parameter],
    arranged: Callable[[dict[str, Any]], dict[str, Any]],
) -> Callable[..., None]:
    """The command with its parameter `into` replaced by `options`.

    It gets a dictionary of those that are not None, as `arranged` has it.
    """
    signature = inspect.signature(command, eval_str=True)
    own = {name: p.replace(kind=p.KEYWORD_ONLY) for name, p in signature.parameters.items()}
    place = [*own].index(into)
    collected = {option.name: option for option in options}
    parameters = [*own.values()]
    parameters[place : place + 1] = collected.values()

    @functools.wraps(command)
    def call(**values: Any) -> None:
        given = {name: values.pop(name) for name in collected}
        command(**values, **{into: arranged({k: v for k, v in given.items() if v is not None})})

    call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return call


def _parameter(name: str, annotation: Any, default: Any = None) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=annotation)


def _data_options() -> list[inspect.Parameter]:
    return [_parameter(name, annotation) for name, annotation in DATA.items()]
