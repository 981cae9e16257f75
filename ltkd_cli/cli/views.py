"""`ltkd views`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from . import options


@options.with_data
def views(
    *,
    spec: options.Spec = None,
    policy: Annotated[
        str | None,
        typer.Option(
            help="View policy: steps joined by +, or a short name.", show_default="the data set's"
        ),
    ] = None,
    view_seed: options.ViewSeed = 0,
    out: Annotated[Path, typer.Option(help="The picture to write.")] = Path("views.png"),
    count: Annotated[int, typer.Option("--images", help="Rows: images of different classes.")] = 8,
    number: Annotated[int, typer.Option("--views", help="Columns: views from 0 on.")] = 8,
    images: dict[str, Any],
) -> None:
    """Draw what a view policy does: a row for each image, a column for each view."""
    from .. import console
    from ..console.contact_sheet import check, write_contact_sheet
    from ..data import DataSpec, load
    from ..views.policy import Policy

    chosen = Policy(policy, view_seed) if policy is not None else None
    check(count, number, out)
    options.add_spec(images, spec)
    data = load(DataSpec(**images), console.decoding)
    chosen = chosen or Policy(data.views, view_seed)
    write_contact_sheet(data.train, chosen, out, count, number)
    console.result(f"{out}: views 0 to {number - 1} of {data.name} by {chosen.spec}")
