"""Options that several commands share, each defined once. Loads nothing heavy."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from ..commands.settings import Settings
from ..errors import UsageError
from ..training.recipe import PRESETS, Recipe

DEFAULT_RUNS = Path("runs")

_DATA = "Images"
_RECIPE = "Recipe"
_MACHINE = "Device and logging"

_SEED = "--seeds 0,1,2"


def parse_seeds(text: str) -> list[int]:
    """The seeds in `0,1,2`; UsageError where that is no list of different seeds."""
    try:
        seeds = [_check_seed(int(part), _SEED) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--seeds takes whole numbers, not {text!r}.", _SEED) from None
    if len(set(seeds)) < len(seeds):
        raise UsageError(f"--seeds {text} names a seed twice.", _SEED)
    return seeds


def _check_seed(value: int, hint: str) -> int:
    if not 0 <= value < 2**63:  # what generators can begin with
        raise UsageError(f"A seed is a whole number from 0 to 2^63 - 1, not {value}.", hint)
    return value


def _checked_seed(option: typer.CallbackParam, value: int) -> int:
    return _check_seed(value, f"{option.opts[0]} 0")


def _checked_epochs(option: typer.CallbackParam, value: int | None) -> int | None:
    if value is not None and value < 0:
        name = option.opts[0]
        raise UsageError(f"{name} takes 0 or a number of epochs, not {value}.", f"{name} 1")
    return value


def _checked_jobs(value: int | None) -> int | None:
    if value is not None and value < 1:
        raise UsageError(f"--jobs takes 1 or more students, not {value}.", "--jobs 2")
    return value


def _parsed_milestones(value: str | None) -> tuple[float, ...] | None:
    try:
        return None if value is None else tuple(float(part) for part in value.split(",") if part)
    except ValueError:
        raise UsageError(
            f"--milestones takes shares of the training, not {value!r}.", "--milestones 0.8,0.9"
        ) from None


Runs = Annotated[
    Path, typer.Option(help="Folder of all runs.", envvar="LTKD_RUNS", show_default=True)
]
Name = Annotated[
    str | None, typer.Option(help="Folder name of the run.", show_default="a number and a label")
]
Resume = Annotated[
    str | None,
    typer.Option(
        help="Continue this run: number, name or path, or `last` for the newest unfinished one.",
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
        rich_help_panel=_MACHINE,
        callback=_checked_jobs,
        show_default="one for each CPU thread; on a GPU 1",
    ),
]
LogEvery = Annotated[
    int,
    typer.Option(
        help="Print a line every so many epochs; 0 for none.",
        rich_help_panel=_MACHINE,
        callback=_checked_epochs,
    ),
]
TensorBoard = Annotated[
    bool,
    typer.Option(
        "--tensorboard", help="Write TensorBoard event files as well.", rich_help_panel=_MACHINE
    ),
]
Profile = Annotated[
    bool,
    typer.Option(
        "--profile",
        help="Write a trace of a few steps and print what takes most of the time.",
        rich_help_panel=_MACHINE,
    ),
]
ViewSeed = Annotated[int, typer.Option(help="Random seed of the views.", callback=_checked_seed)]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.", rich_help_panel=_MACHINE)]
Precision = Annotated[
    str,
    typer.Option(
        help="auto, float32 or bfloat16; auto is bfloat16 where the device is faster with it.",
        rich_help_panel=_MACHINE,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document, nothing else.")]

SETTINGS: dict[str, Any] = {
    "model": Annotated[
        str, typer.Option(help="resnet8 to resnet110, resnet8x4, torchvision/NAME or timm/NAME.")
    ],
    "method": Annotated[
        str,
        typer.Option(help="How to train; `ltkd methods` lists the names."),
    ],
    "options": Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="An option of the method; may be repeated."
        ),
    ],
    "caches": Annotated[
        list[Path] | None,
        typer.Option(
            "--cache",
            metavar="<path>",
            help="Cache of a teacher; repeat it for several teachers.",
            show_default="the newest",
        ),
    ],
    "head": Annotated[
        str, typer.Option(help="Last layer: linear, or cosine:SCALE.", show_default="the method's")
    ],
    "pretrained": Annotated[
        bool, typer.Option("--pretrained", help="Start from the model zoo's weights.")
    ],
    "views": Annotated[
        str,
        typer.Option(
            "--policy",
            help="View policy: none, crop or crop-flip.",
            show_default="the data set's",
        ),
    ],
    "augment": Annotated[
        str, typer.Option(help="none, or jitter for random colours in every view.")
    ],
    "classes": Annotated[
        str,
        typer.Option(
            help="all, or head, medium or tail for an expert trained on these classes only."
        ),
    ],
    "seed": Annotated[int, typer.Option(help="Random seed.", callback=_checked_seed)],
    "recipe_name": Annotated[
        str | None,
        typer.Option(
            "--recipe",
            help=f"Preset: {', '.join(PRESETS)}.",
            rich_help_panel=_RECIPE,
            show_default="quick for digits-lt, else ldam",
        ),
    ],
    "device": Device,
    "precision": Precision,
    "compile": Annotated[
        bool,
        typer.Option(
            "--compile",
            help="Compile the network by torch.compile (on a GPU with CUDA graphs), which takes "
            "half a minute at the start; if that fails, train without.",
            rich_help_panel=_MACHINE,
        ),
    ],
    "evaluate_every": Annotated[
        int | None,
        typer.Option(
            help="Epochs between evaluations on the validation images, or on the test set where "
            "there are none; 0 to evaluate at the end only.",
            callback=_checked_epochs,
            show_default="a tenth of the training",
            rich_help_panel=_MACHINE,
        ),
    ],
}
"""Field of Settings -> its option; `data` and `recipe` have one for each field of their own."""

DATA: dict[str, Any] = {
    "data": Annotated[
        str | None,
        typer.Option(
            help="digits-lt, cifar10-lt, cifar100-lt, an image folder (train/ and test/ or val/), "
            "or a train list (.txt, a path and a label on each line).",
            rich_help_panel=_DATA,
            show_default="those of the run or cache, else digits-lt",
        ),
    ],
    "root": Annotated[
        str | None,
        typer.Option(
            "--data-root",
            help="Folder of the CIFAR files, or the one that the paths of a list start from.",
            rich_help_panel=_DATA,
        ),
    ],
    "test_list": Annotated[
        str | None,
        typer.Option(help="Test list that belongs to a train list.", rich_help_panel=_DATA),
    ],
    "imbalance": Annotated[
        float | None,
        typer.Option(
            help="Make the training set long-tailed: how many times as many images the largest "
            "class has as the smallest.",
            rich_help_panel=_DATA,
        ),
    ],
    "imbalance_type": Annotated[
        str | None, typer.Option(help="exp or step.", rich_help_panel=_DATA, show_default="exp")
    ],
    "imbalance_seed": Annotated[
        int | None,
        typer.Option(
            help="Random seed for choosing the images to keep.",
            rich_help_panel=_DATA,
            show_default="0",
        ),
    ],
    "validation": Annotated[
        int | None,
        typer.Option(
            help="Training images of each class to hold out for validation, at most half of a "
            "class; taken before the long tail is made.",
            rich_help_panel=_DATA,
            show_default="0",
        ),
    ],
    "image_size": Annotated[
        int | None, typer.Option(help="Height and width in pixels.", rich_help_panel=_DATA)
    ],
    "groups": Annotated[
        str | None,
        typer.Option(
            help="Head, medium and tail by counts (>100, <20 images) or by rank (thirds); auto "
            "means counts, or rank where counts leave a group empty.",
            rich_help_panel=_DATA,
            show_default="auto",
        ),
    ],
    "download": Annotated[
        bool | None,
        typer.Option("--download", help="Download missing CIFAR files.", rich_help_panel=_DATA),
    ],
}
"""Field of DataSpec -> its option; None where it is not given."""


MACHINE = ("device", "precision", "compile", "evaluate_every")
"""Fields of Settings whose options every training command has."""


def with_data(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options that say which images, collected by field into its `images`."""
    return _collecting(command, "images", _data_options(), dict)


def with_settings(
    *names: str, **defaults: Any
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command the options of Settings, collected by field into its `told`.

    These are the ones in `names`, and those of images, recipe and machine. Their defaults are the
    fields' own unless `defaults` has another.
    """
    known = {field.name: field.default for field in dataclasses.fields(Settings)}
    known = {name: value for name, value in known.items() if isinstance(value, str | int)}

    def option(name: str) -> inspect.Parameter:
        return _parameter(name, SETTINGS[name], {**known, **defaults}.get(name))

    options = [
        *map(option, names),
        *_data_options(),
        option("recipe_name"),
        *map(_recipe_option, _RECIPE_FIELDS),
        *map(option, MACHINE),
    ]
    return lambda command: _collecting(command, "told", options, _nested)


def _nested(given: dict[str, Any]) -> dict[str, Any]:
    """The same with the fields of images and recipe in dictionaries of their own."""
    told: dict[str, Any] = {"data": {}, "recipe": {}}
    for name, value in given.items():
        into = told["data"] if name in DATA else told["recipe"] if name in _RECIPE_FIELDS else told
        into[name] = value
    return told


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


_RECIPE_FIELDS = tuple(field.name for field in dataclasses.fields(Recipe))


def _recipe_option(name: str) -> inspect.Parameter:
    kind, text = typing.get_args(typing.get_type_hints(Recipe, include_extras=True)[name])[:2]
    shares = name == "milestones"
    option = typer.Option(
        help=_sentence(text),
        rich_help_panel=_RECIPE,
        show_default=_preset_values(name),
        callback=_parsed_milestones if shares else None,
    )
    return _parameter(name, Annotated[typing.Optional[str if shares else kind], option])  # noqa: UP045


def _preset_values(name: str) -> str:
    """The value that all presets have, or each preset with its own."""
    values = {preset: _as_typed(getattr(recipe, name)) for preset, recipe in PRESETS.items()}
    if len(set(values.values())) == 1:
        return values.popitem()[1]
    return ", ".join(f"{preset} {value}" for preset, value in values.items())


def _as_typed(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value).lower()


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."
