"""Options of `export-logits` for a teacher that is no run: a network and its weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UsageError, command

if TYPE_CHECKING:
    from ..commands.export import ExportSettings
    from ..commands.export_weights import WeightSource

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


def source(model: str | None, weights: Path | None, pretrained: bool) -> WeightSource | None:
    """The teacher that these options describe; None where none is given."""
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

    return WeightSource(model or "", weights)


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
