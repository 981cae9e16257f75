"""`ltkd methods` and `ltkd data`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from . import options


def methods(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="One of them, with its options.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """List the methods, or explain one: formula, needs, options, source."""
    from .. import console

    if as_json:
        console.document(console.methods_document(name))
    elif name is None:
        console.print_methods()
    else:
        console.print_method(name)


@options.with_data
def data(
    *,
    spec: Annotated[
        str | None,
        typer.Argument(metavar="SPEC", help="The images, as for --data.", show_default="digits-lt"),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Write the histogram to this file (PNG, PDF, SVG).")
    ] = None,
    as_json: options.AsJson = False,
    images: dict[str, Any],
) -> None:
    """Show the classes of an image set, how long its tail is, and its groups."""
    from .. import console
    from ..data import DataSpec, load

    given = {options.DATA_FIELDS[key]: value for key, value in images.items()}
    if spec is not None:
        given["data"] = spec
    loaded = load(DataSpec(**given), console.decoding)
    for text in loaded.warnings:
        console.caution(text)
    if plot is not None:
        from ..console import plots

        plots.class_counts(loaded, plot)
        console.note(f"wrote {plot}")
    if as_json:
        console.document(console.data_document(loaded))
    else:
        console.print_data(loaded)
