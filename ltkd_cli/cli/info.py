"""`ltkd methods` and `ltkd data`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from . import options


def methods(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="The method to show.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """List the methods, or show the formula, options and source of one."""
    from .. import console
    from ..console.methods import methods_document, print_method, print_methods

    if as_json:
        console.document(methods_document(name))
    elif name is None:
        print_methods()
    else:
        print_method(name)


@options.with_data
def data(
    *,
    spec: options.Spec = None,
    plot: Annotated[
        Path | None, typer.Option(help="Write the histogram to this file (PNG, PDF, SVG).")
    ] = None,
    as_json: options.AsJson = False,
    images: dict[str, Any],
) -> None:
    """Show the classes of an image set, their groups, and how long its tail is."""
    from .. import console
    from ..console.images import data_document, print_data
    from ..data import DataSpec, load

    options.add_spec(images, spec)
    loaded = load(DataSpec(**images), console.decoding)
    for text in loaded.warnings:
        console.warn(text)
    if plot is not None:
        from ..console import plots

        plots.class_counts(loaded, plot)
        console.note(f"wrote {plot}")
    if as_json:
        console.document(data_document(loaded))
    else:
        print_data(loaded)
