"""`ltkd doctor`."""

from __future__ import annotations

from typing import Any

import typer

from . import options

FOUND = 1
"""Exit code where there are problems that matter."""


@options.with_data
def doctor(
    *,
    spec: options.Spec = None,
    as_json: options.AsJson = False,
    images: dict[str, Any],
) -> None:
    """Examine an image set: unreadable and duplicate images, missing classes, what it can show.

    Ends with exit code 1 where there are problems that would spoil results.
    """
    from .. import console
    from ..commands.doctor import examine
    from ..console.doctor import examined_document, print_examined
    from ..data import DataSpec

    options.add_spec(images, spec)
    examined = examine(DataSpec(**images), console.decoding)
    if as_json:
        console.document(examined_document(examined))
    else:
        print_examined(examined)
    if examined.problems:
        raise typer.Exit(FOUND)
