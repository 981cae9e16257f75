"""`ltkd doctor`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from . import options

FOUND = 1
"""Exit code where there are problems that matter."""


@options.with_data
def doctor(
    *,
    spec: Annotated[
        str | None,
        typer.Argument(metavar="SPEC", help="The images, as for --data.", show_default="digits-lt"),
    ] = None,
    as_json: options.AsJson = False,
    images: dict[str, Any],
) -> None:
    """Examine an image set: unreadable and repeated images, lacking classes, what it can tell.

    Ends with exit code 1 where there are problems that would spoil results.
    """
    from .. import console
    from ..commands.doctor import examine
    from ..data import DataSpec

    given = {options.DATA_FIELDS[key]: value for key, value in images.items()}
    if spec is not None:
        given["data"] = spec
    examined = examine(DataSpec(**given), console.decoding)
    if as_json:
        console.document(console.examined_document(examined))
    else:
        console.print_examined(examined)
    if examined.problems:
        raise typer.Exit(FOUND)
