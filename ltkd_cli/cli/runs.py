"""`ltkd runs`, and `ltkd runs show`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import RunError, command
from . import options
from .config import configurable
from .help import Command, Group


class _Runs(Group):
    """Lists where none of its commands is named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args[:1] != ["--help"] and (not args or args[0] not in self.commands):
            args = ["list", *args]
        return super().parse_args(ctx, args)


runs = typer.Typer(
    cls=_Runs,
    help="List all runs with their scores: `ltkd runs`, or `ltkd runs FOLDER`. Or show one.",
)


@runs.command("list", cls=Command)
@configurable
def list_runs(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="FOLDER", help="Folder of all runs.", show_default="that of --runs"),
    ] = None,
    runs: options.Runs = options.DEFAULT_RUNS,
    as_json: options.AsJson = False,
) -> None:
    """List all runs with their scores; the same as `ltkd runs`."""
    from .. import console
    from .. import runs as run_folders
    from ..console.runs import print_runs, runs_document, warn_of_runs

    if folder is not None:
        runs = folder
        if not folder.is_dir():
            raise RunError(f"There is no folder {folder}.", command("runs", "--help"))
    found, odd = run_folders.survey(runs)
    if as_json:
        console.document(runs_document(found, odd))
    else:
        print_runs(found, runs)
    warn_of_runs(found, odd)


@runs.command(cls=Command)
@configurable
def show(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN", help="The run: number, name or path.", show_default="the newest"
        ),
    ] = None,
    runs: options.Runs = options.DEFAULT_RUNS,
    as_json: options.AsJson = False,
) -> None:
    """Show a run: settings, teachers, scores with intervals, files, the command that repeats it."""
    from .. import console
    from .. import runs as run_folders
    from ..commands.lineage import describe
    from ..console.run_details import print_details, run_document

    if run is None:
        found = run_folders.all_runs(runs)[-1:]
        shown = found[0] if found else run_folders.newest(runs)
    else:
        shown = run_folders.find(runs, run)
    details = describe(runs, shown)
    if as_json:
        console.document(run_document(details))
    else:
        print_details(details)
    for warning in shown.warnings:
        console.warn(warning)
