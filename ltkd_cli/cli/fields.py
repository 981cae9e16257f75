"""The option of each field of Settings, of DataSpec and of Recipe. Loads nothing heavy."""

from __future__ import annotations

import functools
import math
import typing
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from ..commands.settings import USUAL_STATISTICS
from ..errors import UsageError
from ..training.recipe import MAX_COUNT, PRESETS, Recipe

IMAGES = "Images"
RECIPE = "Recipe"
MACHINE = "Device and logging"
"""Panels of the help."""


def check_seed(value: int, hint: str) -> int:
    """The value; UsageError where no generator can begin with it."""
    if not 0 <= value < 2**63:
        raise UsageError(f"A seed is a whole number from 0 to 2^63 - 1, not {value}.", hint)
    return value


def checked_seed(option: typer.CallbackParam, value: int) -> int:
    """For typer: the same."""
    return check_seed(value, f"{option.opts[0]} 0")


def checked_epochs(option: typer.CallbackParam, value: int | None) -> int | None:
    """For typer: the value; UsageError where it is below 0, or more than any training has."""
    if value is not None and not 0 <= value <= MAX_COUNT:
        name = option.opts[0]
        raise UsageError(f"{name} takes 0 or a number of epochs, not {value}.", f"{name} 1")
    return value


def _parsed_milestones(value: str | None) -> tuple[float, ...] | None:
    try:
        return None if value is None else tuple(float(part) for part in value.split(",") if part)
    except ValueError:
        raise UsageError(
            f"--milestones takes fractions of the training, not {value!r}.", "--milestones 0.8,0.9"
        ) from None


def parse_channels(option: str, text: str) -> tuple[float, float, float]:
    """The numbers in `R,G,B`; UsageError unless they are in [0, 1], and above 0 for `--std`."""
    try:
        red, green, blue = (float(part) for part in text.split(","))
    except ValueError:
        red = green = blue = math.nan
    values = (red, green, blue)
    if all(0 <= value <= 1 for value in values) and (option == "--mean" or min(values) > 0):
        return values
    wanted = "above 0 and up to 1" if option == "--std" else "from 0 to 1"
    raise UsageError(
        f"{option} takes three numbers {wanted}, for red, green and blue, not {text!r}.",
        f"{option} {USUAL_STATISTICS[option]}",
    )


def channels_option(statistic: str, **more: Any) -> Any:
    """`--mean` or `--std` of the images that weights of another program were trained with."""
    of_what = {
        "mean": "Mean of the pixels, in [0, 1], that --weights were trained with; with --std.",
        "std": "Standard deviation of the same.",
    }
    default = "the model zoo's; for CIFAR ResNets the data set's"
    return typer.Option(metavar="R,G,B", help=of_what[statistic], show_default=default, **more)


def _parsed_channels(
    option: typer.CallbackParam, value: str | None
) -> tuple[float, float, float] | None:
    return None if value is None else parse_channels(option.opts[0], value)


Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.", rich_help_panel=MACHINE)]
Precision = Annotated[
    str,
    typer.Option(
        help="auto, float32 or bfloat16; auto is bfloat16 where the device is faster with it.",
        rich_help_panel=MACHINE,
    ),
]
Store = Annotated[
    str | None,
    typer.Option(
        help="Keep decoded image files in the cache folder: always, never (each is decoded when it "
        "is needed, by worker processes) or auto (keep them up to 64 GB, in at most half of what "
        "is free on the disk).",
        rich_help_panel=IMAGES,
        show_default="auto, or as the run or cache was made",
    ),
]
SETTINGS: dict[str, Any] = {
    "model": Annotated[
        str,
        typer.Option(
            help="resnet8 to resnet110 for small images (resnet20-conv: with convolutions in the "
            "shortcuts; resnet8x4 and resnet32x4: four times as wide), torchvision/NAME or "
            "timm/NAME."
        ),
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
    "weights": Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="Start from these weights below a new head: safetensors, a state dict of PyTorch, "
            "or a run's model.safetensors.",
            show_default="none",
        ),
    ],
    "mean": Annotated[str | None, channels_option("mean", callback=_parsed_channels)],
    "std": Annotated[str | None, channels_option("std", callback=_parsed_channels)],
    "freeze": Annotated[
        str,
        typer.Option(
            metavar="[stages:N]",
            help="Train the head alone, on features that the backbone computes once; with stages:N "
            "keep the first N stages as they are.",
            show_default="none",
        ),
    ],
    "feature_views": Annotated[
        int | None,
        typer.Option(
            help="Views of each image that a frozen backbone computes.",
            show_default="16; 1 where the policy is none",
        ),
    ],
    "views": Annotated[
        str,
        typer.Option(
            "--policy",
            help="View policy: steps joined by +, or a short name, as cifar-strong.",
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
    "seed": Annotated[int, typer.Option(help="Random seed.", callback=checked_seed)],
    "recipe_name": Annotated[
        str | None,
        typer.Option(
            "--recipe",
            help=f"Preset: {', '.join(PRESETS)}.",
            rich_help_panel=RECIPE,
            show_default="quick for digits-lt, frozen-head with --freeze, else ldam",
        ),
    ],
    "device": Device,
    "precision": Precision,
    "compile": Annotated[
        bool,
        typer.Option(
            "--compile",
            help="Compile the network by torch.compile (on a GPU with CUDA graphs), which can "
            "take minutes at the start; if that fails, train without.",
            rich_help_panel=MACHINE,
        ),
    ],
    "resident": Annotated[
        str,
        typer.Option(
            help="Keep images and teacher outputs in the memory of the GPU: auto (where a training "
            "step still fits beside them), always or never.",
            rich_help_panel=MACHINE,
        ),
    ],
    "evaluate_every": Annotated[
        int | None,
        typer.Option(
            help="Epochs between evaluations on the validation images, or on the test set where "
            "there are none; 0 to evaluate at the end only.",
            callback=checked_epochs,
            show_default="a tenth of the training; 0 with --freeze",
            rich_help_panel=MACHINE,
        ),
    ],
}
"""Field of Settings -> its option; `data` and `recipe` have one for each field of their own."""

DATA: dict[str, Any] = {
    "data": Annotated[
        str | None,
        typer.Option(
            help="digits-lt, cifar10-lt, cifar100-lt, an image folder (train/ and test/ or val/), "
            "a train list (.txt), a manifest (.csv, .tsv, .parquet), JSON as of iNaturalist or "
            "COCO, an .npz as of MedMNIST, or hf:FOLDER for a Hugging Face dataset on disk.",
            rich_help_panel=IMAGES,
            show_default="those of the run or cache, else digits-lt",
        ),
    ],
    "root": Annotated[
        str | None,
        typer.Option(
            "--data-root",
            help="Folder of the CIFAR files, or the folder that paths in a list or manifest are "
            "relative to.",
            rich_help_panel=IMAGES,
        ),
    ],
    "test_list": Annotated[
        str | None,
        typer.Option(
            "--test-list",
            "--test-manifest",
            help="Test list, manifest or JSON that goes with that of --data.",
            rich_help_panel=IMAGES,
        ),
    ],
    "imbalance": Annotated[
        float | None,
        typer.Option(
            help="Make the training set long-tailed: how many times as many images the largest "
            "class has as the smallest.",
            rich_help_panel=IMAGES,
            show_default="20 for digits-lt, 100 for CIFAR; else the images stay as they are",
        ),
    ],
    "imbalance_type": Annotated[
        str | None, typer.Option(help="exp or step.", rich_help_panel=IMAGES, show_default="exp")
    ],
    "imbalance_seed": Annotated[
        int | None,
        typer.Option(
            help="Random seed for choosing the images to keep.",
            rich_help_panel=IMAGES,
            show_default="0",
        ),
    ],
    "validation": Annotated[
        int | None,
        typer.Option(
            help="Training images of each class to hold out for validation, at most half of a "
            "class; taken from the long-tailed set.",
            rich_help_panel=IMAGES,
            show_default="0",
        ),
    ],
    "image_size": Annotated[
        int | None,
        typer.Option(
            help="Height and width in pixels.",
            rich_help_panel=IMAGES,
            show_default="the images' own size where all are equally small, else 224",
        ),
    ],
    "groups": Annotated[
        str | None,
        typer.Option(
            help="Head, medium and tail by counts (head > 100 images, tail < 20) or by rank "
            "(thirds of the classes); auto is counts, but rank for digits-lt and where counts "
            "leave a group empty.",
            rich_help_panel=IMAGES,
            show_default="auto",
        ),
    ],
    "download": Annotated[
        bool | None,
        typer.Option("--download", help="Download missing CIFAR files.", rich_help_panel=IMAGES),
    ],
    "short_side": Annotated[
        int | None,
        typer.Option(
            help="Pixels that the short side of a photograph is reduced to before views are cut "
            "out of it.",
            rich_help_panel=IMAGES,
            show_default="256 for an image size of 224, and in proportion",
        ),
    ],
    "store": Store,
}
"""Field of DataSpec -> its option; None where it is not given."""

PLACE: dict[str, Any] = {
    "data": Annotated[
        str | None,
        typer.Option(
            help="Where the images lie now, if they have moved.",
            rich_help_panel=IMAGES,
            show_default="those of the run",
        ),
    ],
    **{name: DATA[name] for name in ("root", "test_list", "store")},
}
"""The same for a run, whose images may have moved."""


def recipe_option(name: str, hidden: bool = False) -> Any:
    """The option of a field of Recipe; None where it is not given."""
    kind, text = typing.get_args(_recipe_hints()[name])[:2]
    shares = name == "milestones"
    option = typer.Option(
        help=_sentence(text),
        rich_help_panel=RECIPE,
        show_default=_preset_values(name),
        callback=_parsed_milestones if shares else None,
        hidden=hidden,
    )
    return Annotated[typing.Optional[str if shares else kind], option]  # noqa: UP045


@functools.cache
def _recipe_hints() -> dict[str, Any]:
    return typing.get_type_hints(Recipe, include_extras=True)


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
