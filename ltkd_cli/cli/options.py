"""Options that several commands share, each defined once. Imports nothing heavy."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import UsageError
from ..training.recipe import PRESETS, Recipe

_DATA = "Images"
_RECIPE = "Recipe"
_MACHINE = "Machine"


def checked_seed(value: int, hint: str) -> int:
    """The value; UsageError where the generators cannot begin with it."""
    if not 0 <= value < 2**63:
        raise UsageError(f"A seed is a whole number from 0 to 2^63 - 1, not {value}.", hint)
    return value


def _checked_seed(option: typer.CallbackParam, value: int) -> int:
    return checked_seed(value, f"{option.opts[0]} 0")


def _checked_epochs(option: typer.CallbackParam, value: int | None) -> int | None:
    if value is not None and value < 0:
        name = option.opts[0]
        raise UsageError(f"{name} takes 0 or a number of epochs, not {value}.", f"{name} 1")
    return value


def _checked_at_once(value: int | None) -> int | None:
    if value is not None and value < 1:
        raise UsageError(f"--at-once takes 1 or more students, not {value}.", "--at-once 2")
    return value


Runs = Annotated[
    Path, typer.Option(help="Folder of all runs.", envvar="LTKD_RUNS", show_default=True)
]
Data = Annotated[
    str | None,
    typer.Option(
        help="digits-lt, cifar10-lt, cifar100-lt, an image folder (train/ and test/ or val/), a "
        "train list (.txt), a manifest (.csv, .tsv, .parquet), JSON as of iNaturalist or COCO, an "
        ".npz as of MedMNIST, or hf:FOLDER for a Hugging Face dataset on disk.",
        rich_help_panel=_DATA,
    ),
]
DataRoot = Annotated[
    str | None,
    typer.Option(
        help="Folder of the CIFAR files, or that the paths of a list or manifest are relative to.",
        rich_help_panel=_DATA,
    ),
]
TestList = Annotated[
    str | None,
    typer.Option(
        "--test-list",
        "--test-manifest",
        help="Test list, manifest or JSON that belongs to that of --data.",
        rich_help_panel=_DATA,
    ),
]
Imbalance = Annotated[
    float | None,
    typer.Option(
        help="Make the training set long-tailed: images of the largest class for one of the "
        "smallest.",
        rich_help_panel=_DATA,
    ),
]
ImbalanceType = Annotated[
    str | None, typer.Option(help="exp or step.", rich_help_panel=_DATA, show_default="exp")
]
ImbalanceSeed = Annotated[
    int | None,
    typer.Option(help="Chooses which images are kept.", rich_help_panel=_DATA, show_default="0"),
]
Validation = Annotated[
    int | None,
    typer.Option(
        help="Training images of each class to hold out for validation, at most half of a class; "
        "taken from the long-tailed set.",
        rich_help_panel=_DATA,
        show_default="0",
    ),
]
ImageSize = Annotated[
    int | None,
    typer.Option(help="Height and width in pixels.", rich_help_panel=_DATA),
]
GroupRule = Annotated[
    str | None,
    typer.Option(
        "--groups",
        help="Head, medium and tail by counts (>100, <20 images) or by rank (thirds); auto takes "
        "rank where counts leave a group empty.",
        rich_help_panel=_DATA,
        show_default="auto",
    ),
]
Download = Annotated[
    bool | None,
    typer.Option("--download", help="Fetch missing CIFAR files.", rich_help_panel=_DATA),
]
Model = Annotated[
    str,
    typer.Option(
        help="resnet8 to resnet110, resnet20-conv, resnet8x4, torchvision/NAME or timm/NAME."
    ),
]
Pretrained = Annotated[
    bool, typer.Option("--pretrained", help="Begin with the model zoo's weights.")
]
Head = Annotated[
    str | None,
    typer.Option(help="Last layer: linear, or cosine:SCALE.", show_default="the method's"),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="An option of the method; repeatable."),
]
RecipeName = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        help=f"Preset: {', '.join(PRESETS)}.",
        rich_help_panel=_RECIPE,
        show_default="quick for digits-lt, else ldam",
    ),
]
Seeds = Annotated[
    str | None,
    typer.Option(metavar="0,1,2", help="Several students: a run for each seed."),
]
AtOnce = Annotated[
    int | None,
    typer.Option(
        help="Students of --seeds that are trained at the same time.",
        rich_help_panel=_MACHINE,
        callback=_checked_at_once,
        show_default="one for each CPU core; on a GPU 1",
    ),
]
Augment = Annotated[
    str, typer.Option(help="none, or jitter: other colours in every view that is learnt from.")
]
Classes = Annotated[
    str,
    typer.Option(help="all, or head, medium or tail: an expert that learns these classes only."),
]
TensorBoard = Annotated[
    bool,
    typer.Option(
        "--tensorboard",
        help="Write TensorBoard event files as well.",
        rich_help_panel=_MACHINE,
    ),
]
Profile = Annotated[
    bool,
    typer.Option(
        "--profile",
        help="Write a trace and a table of what a few steps cost, and show the main costs.",
        rich_help_panel=_MACHINE,
    ),
]
Seed = Annotated[
    int, typer.Option(help="Weights, order and views all follow from it.", callback=_checked_seed)
]
ViewSeed = Annotated[int, typer.Option(help="Seed of the views.", callback=_checked_seed)]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.", rich_help_panel=_MACHINE)]
Precision = Annotated[
    str,
    typer.Option(
        help="auto, float32 or bfloat16; auto is bfloat16 where the device gains from it.",
        rich_help_panel=_MACHINE,
    ),
]
Compile = Annotated[
    bool,
    typer.Option(
        "--compile",
        help="Compile the network by torch.compile (on a GPU with CUDA graphs), which takes half "
        "a minute at the start; where that fails, it trains as it is.",
        rich_help_panel=_MACHINE,
    ),
]
Resident = Annotated[
    str,
    typer.Option(
        help="Keep images and teacher outputs in the memory of the GPU: auto (where a training "
        "step still fits beside them), always or never.",
        rich_help_panel=_MACHINE,
    ),
]
EvaluateEvery = Annotated[
    int | None,
    typer.Option(
        help="Epochs between looks at the validation images, or at the test set where none are "
        "held out; 0 for none before the end.",
        callback=_checked_epochs,
        show_default="a tenth of the training",
        rich_help_panel=_MACHINE,
    ),
]
Name = Annotated[str | None, typer.Option(help="Folder name of the run.", show_default="numbered")]
Resume = Annotated[
    str | None,
    typer.Option(
        help="Go on with this run (number, name or path; `last` for the newest unfinished one).",
        metavar="RUN",
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
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document, nothing else.")]

DATA_FIELDS = {
    "data": "data",
    "data_root": "root",
    "test_list": "test_list",
    "imbalance": "imbalance",
    "imbalance_type": "imbalance_type",
    "imbalance_seed": "imbalance_seed",
    "validation": "validation",
    "image_size": "image_size",
    "groups": "groups",
    "download": "download",
}
"""Option of the command line -> field of DataSpec."""


def with_recipe(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command one option for each field of Recipe, collected into its `recipe`."""
    fields = {field.name: _recipe_option(field.name) for field in dataclasses.fields(Recipe)}
    return _collecting(command, "recipe", fields)


def with_data(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options that say which images, collected into its `images`."""
    kinds = dict(
        zip(
            DATA_FIELDS,
            (Data, DataRoot, TestList, Imbalance, ImbalanceType, ImbalanceSeed,
             Validation, ImageSize, GroupRule, Download),
            strict=True,
        )
    )  # fmt: skip
    fields = {
        name: inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
        for name, kind in kinds.items()
    }
    return _collecting(command, "images", fields)


def _collecting(
    command: Callable[..., None], into: str, fields: dict[str, inspect.Parameter]
) -> Callable[..., None]:
    """The command with its parameter `into` replaced by one option for each of `fields`.

    The command gets a dictionary of those that were given on the command line.
    """
    signature = inspect.signature(command, eval_str=True)
    parameters = [p.replace(kind=p.KEYWORD_ONLY) for p in signature.parameters.values()]
    place = [p.name for p in parameters].index(into)
    parameters[place : place + 1] = fields.values()

    @functools.wraps(command)
    def collected(**values: Any) -> None:
        given = {name: values.pop(name) for name in fields}
        command(**values, **{into: {k: v for k, v in given.items() if v is not None}})

    collected.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return collected


def _recipe_option(name: str) -> inspect.Parameter:
    kind, text = typing.get_args(typing.get_type_hints(Recipe, include_extras=True)[name])[:2]
    option = typer.Option(
        help=_sentence(text),
        rich_help_panel=_RECIPE,
        show_default=_preset_values(name),
    )
    if name == "milestones":
        annotation: Any = Annotated[str | None, option]
    else:
        annotation = Annotated[typing.Optional[kind], option]  # noqa: UP045
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )


def _preset_values(name: str) -> str:
    """The value that most presets have, and the presets that have another with theirs."""
    values = {preset: _as_typed(getattr(recipe, name)) for preset, recipe in PRESETS.items()}
    common = Counter(values.values()).most_common(1)[0][0]
    others = [f"{preset} {value}" for preset, value in values.items() if value != common]
    return "; ".join([common, ", ".join(others)] if others else [common])


def _as_typed(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value).lower()


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."
