"""Options of `export-logits` for a teacher that is no run: a network and its weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UsageError, command
from .fields import USUAL, parse_channels

if TYPE_CHECKING:
    from ..commands.export import ExportSettings
    from ..commands.export_weights import WeightSource
    from ..models.spec import Channels

_PANEL = "A teacher that is no run"

Model = Annotated[
    str | None,
    typer.Option(
        help="Its network: torchvision/NAME, timm/NAME, or a name such as resnet32.",
        show_default="what --weights says, where ltkd wrote it",
        rich_help_panel=_PANEL,
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        metavar="FILE",
        help="Its weights with a head for these classes: safetensors, or a state dict of PyTorch.",
        rich_help_panel=_PANEL,
    ),
]
Pretrained = Annotated[
    bool,
    typer.Option(
        "--pretrained",
        help="Fetch the model zoo's weights with their head.",
        rich_help_panel=_PANEL,
    ),
]
Mean = Annotated[
    str | None,
    typer.Option(
        metavar="R,G,B",
        help="Mean of the pixels, in [0, 1], that they were trained with; with --std.",
        show_default="the model zoo's; for CIFAR ResNets the data set's",
        rich_help_panel=_PANEL,
    ),
]
Std = Annotated[
    str | None,
    typer.Option(
        metavar="R,G,B",
        help="Standard deviation of the same.",
        show_default="the model zoo's; for CIFAR ResNets the data set's",
        rich_help_panel=_PANEL,
    ),
]


def source(
    model: str | None,
    weights: Path | None,
    pretrained: bool,
    mean: str | None = None,
    std: str | None = None,
) -> WeightSource | None:
    """The teacher that these options describe; None where none is given."""
    statistics = _statistics(mean, std)
    if not (model or weights or pretrained):
        if mean and std:
            raise UsageError(
                "--mean and --std belong to --weights, which is not given.",
                command("export-logits", "--weights", "FILE", "--mean", mean, "--std", std),
            )
        return None
    if weights and pretrained:
        raise UsageError(
            "--weights and --pretrained exclude each other.", "one of them, with --model"
        )
    if model and not (weights or pretrained):
        raise UsageError(
            f"Where the weights of {model} come from is not said.",
            command("export-logits", "--model", model, "--weights", "FILE"),
        )
    if pretrained and not model:
        raise UsageError(
            "--pretrained needs to know of which network.",
            command("export-logits", "--model", "torchvision/resnet50", "--pretrained"),
        )
    from ..commands.export_weights import WeightSource

    return WeightSource(model or "", weights, statistics)


def _statistics(mean: str | None, std: str | None) -> tuple[Channels, Channels] | None:
    """Mean and std, both or neither; UsageError for one alone, or for other than R,G,B."""
    if mean is None and std is None:
        return None
    if mean is None or std is None:
        given, absent = ("--std", "--mean") if mean is None else ("--mean", "--std")
        raise UsageError(
            f"{given} is given without {absent}.",
            f"--mean {mean or USUAL['--mean']} --std {std or USUAL['--std']}",
        )
    return parse_channels("--mean", mean), parse_channels("--std", std)


def refuse_run(run: object) -> None:
    """UsageError where a run is named besides."""
    if run:
        raise UsageError(
            "A run has weights of its own, so --model, --weights and --pretrained do not go with "
            "RUN.",
            command("export-logits", "--help"),
        )


def export(source: WeightSource, images: dict[str, Any], settings: ExportSettings) -> Path:
    """Writes the cache of that teacher; its path."""
    from .. import console
    from ..commands.export_weights import export_weights

    return console.follow(export_weights(source, images, settings, console.decoding))
