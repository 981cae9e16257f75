"""`ltkd export-logits` and `ltkd cache`."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import typer

from . import options
from .help import Command, Group
from .train import DEFAULT_RUNS

cache = typer.Typer(
    cls=Group, help="Look into a cache, or check every byte of it.", no_args_is_help=True
)

CachePath = Annotated[
    Path | None, typer.Argument(help="The cache.", metavar="CACHE", show_default="the newest")
]


@options.with_data
def export_logits(
    *,
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN",
            help="The teacher's run: number, name or path.",
            show_default="the newest teacher",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="The cache to write.", show_default="in the run's folder"
        ),
    ] = None,
    views: Annotated[
        int | None,
        typer.Option(help="Views of every image.", show_default="16, or 1 of policy none"),
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(help="View policy: none, crop or crop-flip.", show_default="the teacher's"),
    ] = None,
    view_seed: options.ViewSeed = 0,
    features: Annotated[
        bool,
        typer.Option("--features/--no-features", help="Store pooled features as well."),
    ] = True,
    dtype: Annotated[
        str,
        typer.Option(help="float16, float32, or uint8 (half of float16; compact but rounded)."),
    ] = "float16",
    force: Annotated[bool, typer.Option("--force", help="Replace an existing cache.")] = False,
    runs: options.Runs = DEFAULT_RUNS,
    images: dict[str, Any],
    device: options.Device = "auto",
    precision: options.Precision = "float32",
) -> None:
    """Run a teacher once over many views of every training image, into one HDF5 cache."""
    from .. import console
    from .. import runs as run_folders
    from ..commands import export as exporting

    if run is None:
        teacher = run_folders.newest(runs, "teach")
        console.note(f"using the newest teacher, {teacher.name}")
    else:
        teacher = run_folders.find(runs, run)
    settings = exporting.ExportSettings(
        output=output, views=views, policy=policy, view_seed=view_seed, features=features,
        dtype=dtype, precision=precision, device=device, replace=force,
    )  # fmt: skip
    given = {options.DATA_FIELDS[name]: value for name, value in images.items()}
    path = console.follow(exporting.export_logits(teacher, given, settings, console.decoding))
    console.result(f"{path}: {path.stat().st_size / 1e6:,.1f} MB")
    found_by_itself = output is None and runs == DEFAULT_RUNS
    cache = "" if found_by_itself else f" --cache {quote(str(path))}"
    console.note(f"next: ltkd distill --method bkd{cache}")


@cache.command(cls=Command)
def info(path: CachePath = None, runs: options.Runs = DEFAULT_RUNS,
         as_json: options.AsJson = False) -> None:  # fmt: skip
    """Show what a cache holds, and whose answers they are."""
    from .. import console
    from ..commands import caches

    opened = _open(path, runs)
    if as_json:
        own = {"path": str(opened.path), "warnings": opened.warnings}
        console.document({**own, **opened.attributes})
    else:
        console.print_cache(caches.open_cache(opened.path))


@cache.command(cls=Command)
def verify(path: CachePath = None, runs: options.Runs = DEFAULT_RUNS) -> None:
    """Check every stored answer against its checksum."""
    from .. import console

    opened = _open(path, runs)
    opened.verify()
    console.result(f"{opened.path}: all {opened.layout.entries:,} entries are as written.")


def _open(path: Path | None, runs: Path) -> Any:
    from .. import console
    from ..cache import Cache
    from ..commands import caches

    if path is None:
        path = caches.newest_cache(runs)
        console.note(f"using the newest cache, {path}")
    opened = Cache.open(path)
    for warning in opened.warnings:
        console.caution(warning)
    return opened
