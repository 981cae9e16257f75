"""Options of `export-logits` for a teacher that is no run: a network and its weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..commands.settings import check_normalisation
from ..errors import UsageError, command
from .fields import channels_option, parse_channels

if TYPE_CHECKING:
    from ..commands.export import ExportSettings
    from ..commands.export_weights import WeightSource
    from ..models.spec import Channels

_PANEL = "A teacher from a weight file"

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
Mean = Annotated[str | None, channels_option("mean", rich_help_panel=_PANEL)]
Std = Annotated[str | None, channels_option("std", rich_help_panel=_PANEL)]


def source(
    model: str | None,
    weights: Path | None,
    pretrained: bool,
    mean: str | None = None,
    std: str | None = None,
) -> WeightSource | None:
    """The teacher that these options describe; None where none is given."""
    statistics = _statistics(mean, std, has_weights=bool(model or weights or pretrained))
    if not (model or weights or pretrained):
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


def _statistics(
    mean: str | None, std: str | None, *, has_weights: bool
) -> tuple[Channels, Channels] | None:
    """Mean and std, both or neither; UsageError for other than R,G,B, or without weights."""
    given = {"mean": mean, "std": std}
    found = {
        name: parse_channels(f"--{name}", text) for name, text in given.items() if text is not None
    }
    check_normalisation(found, has_weights=has_weights)
    return (found["mean"], found["std"]) if found else None


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
