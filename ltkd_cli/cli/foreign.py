"""Options of `ltkd export-logits` for outputs that were computed elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UsageError, command

if TYPE_CHECKING:
    from ..commands.export import ExportSettings

PANEL = "Outputs from elsewhere"
"""Panel of the help."""

Logits = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.npy",
        help="Logits of the training images, clean, in place of a run: float numbers of shape "
        "(images, classes), in the order of the training set and of its classes. Of photographs, "
        "the whole short side is shown: Resize(224) and CenterCrop(224).",
        rich_help_panel=PANEL,
    ),
]
Features = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.npy",
        help="Features of the same images, of shape (images, width).",
        rich_help_panel=PANEL,
    ),
]
Order = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="The path or name of the image of each row, one on each line, where the rows are in "
        "another order, or are of more images.",
        rich_help_panel=PANEL,
    ),
]
TestLogits = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.npy",
        help="Logits of the test images, in their order, to score the teacher on.",
        show_default="scored on the training labels",
        rich_help_panel=PANEL,
    ),
]


def files(
    logits: Path | None, features: Path | None, order: Path | None, test_logits: Path | None
) -> dict[str, Path]:
    """The files that were given, by option; UsageError for others without the logits."""
    given = {"logits": logits, "features": features, "order": order, "test_logits": test_logits}
    found = {name: path for name, path in given.items() if path is not None}
    if found and logits is None:
        option = next(iter(found)).replace("_", "-")
        raise UsageError(
            f"--{option} belongs to --logits, which is not given.",
            command(
                *("export-logits", "--logits", "logits.npy"),
                *(f"--{option}", next(iter(found.values()))),
            ),
        )
    return found


def refuse_others(teacher: object, settings: ExportSettings) -> None:
    """UsageError for what has no effect on outputs that are there already."""
    odd = {
        "RUN or --model": bool(teacher),
        "--views": settings.views not in (None, 1),
        "--policy": settings.policy not in (None, "none"),
        "--view-seed": settings.view_seed != 0,
        "--no-features": not settings.features,
        "--precision": settings.precision != "float32",
    }
    if found := [name for name, is_odd in odd.items() if is_odd]:
        raise UsageError(
            f"--logits brings outputs of clean images, so {' and '.join(found)} cannot be given.",
            "leave it out",
        )


def import_outputs(
    given: dict[str, Path], images: dict[str, Any], settings: ExportSettings
) -> Path:
    """The cache of these files."""
    from .. import console
    from ..commands import foreign

    asked = foreign.Foreign(**given, settings=settings)
    return console.follow(foreign.import_outputs(images, asked, console.decoding))
