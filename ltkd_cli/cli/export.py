"""`ltkd export-logits` and `ltkd cache`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import command
from ..files import in_bytes
from . import foreign, options, weights
from .config import configurable
from .help import Command, Group

if TYPE_CHECKING:
    from ..cache import Cache
    from ..commands.export import ExportSettings

cache = typer.Typer(
    cls=Group, help="Show what a cache holds, or check every byte of it.", no_args_is_help=True
)

CachePath = Annotated[
    Path | None, typer.Argument(help="The cache.", metavar="CACHE", show_default="the newest")
]


@options.with_data
def export_logits(
    *,
    run: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN",
            help="The teacher's run: number, name or path; several for the mean of their logits.",
            show_default="the newest teacher",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The cache to write.",
            show_default="in the run's folder; of --weights in this one, of --logits beside them",
        ),
    ] = None,
    views: Annotated[
        int | None,
        typer.Option(help="Views of each image.", show_default="16; 1 where the policy is none"),
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(
            help="View policy: steps joined by +, or a short name, as cifar-strong.",
            show_default="the run's, or the data set's",
        ),
    ] = None,
    view_seed: options.ViewSeed = 0,
    no_features: Annotated[
        bool, typer.Option("--no-features", help="Leave out the pooled features.")
    ] = False,
    dtype: Annotated[
        str,
        typer.Option(
            help="Number format of the logits: float16, float32, or uint8 (half the size of "
            "float16, but rounded)."
        ),
    ] = "float16",
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Replace an existing cache, and accept a teacher that is no better than "
            "chance or knows the classes by other names.",
        ),
    ] = False,
    model: weights.Model = None,
    file: weights.Weights = None,
    pretrained: weights.Pretrained = False,
    mean: weights.Mean = None,
    std: weights.Std = None,
    logits: foreign.Logits = None,
    features: foreign.Features = None,
    order: foreign.Order = None,
    test_logits: foreign.TestLogits = None,
    runs: options.Runs = options.DEFAULT_RUNS,
    images: dict[str, Any],
    device: options.Device = "auto",
    precision: options.Precision = "float32",
) -> None:
    """Run a teacher over several views of every training image; writes one HDF5 cache."""
    from .. import console

    settings = _settings(
        output=output, views=views, policy=policy, view_seed=view_seed,
        features=not no_features, dtype=dtype, precision=precision, device=device, replace=force,
    )  # fmt: skip
    source = weights.source(model, file, pretrained, mean, std)
    files = foreign.files(logits, features, order, test_logits)
    if files:
        foreign.refuse_others(run or source, settings)
        path = foreign.import_outputs(files, images, settings)
    elif source:
        weights.refuse_run(run)
        path = weights.export(source, images, settings)
    else:
        path = _export(runs, run or [], images, settings)
    console.result(f"{path}: {in_bytes(path.stat().st_size)}")
    _print_next(path, runs)


def _print_next(path: Path, runs: Path) -> None:
    """The command that trains a student of a cache by a method for such a teacher."""
    from .. import console
    from ..commands import caches
    from ..commands.checks import FOR_PHOTOGRAPHS
    from ..data.filedata import LARGEST_SMALL_SIZE

    opened = caches.open_cache(path)
    method = caches.suited(opened)
    newest = caches.find_newest(runs)
    found_by_itself = runs == options.DEFAULT_RUNS and newest and newest.samefile(path)
    named = [] if found_by_itself else ["--cache", str(path)]
    named += [] if runs == options.DEFAULT_RUNS else ["--runs", str(runs)]
    size = caches.data_spec_of(opened).image_size or 0
    named += [*FOR_PHOTOGRAPHS] if size > LARGEST_SMALL_SIZE else []
    remark = "with a --cache for each expert" if caches.experts_classes(opened) else ""
    console.follows(command("distill", "--method", method, *named, remark=remark))


def _settings(**given: Any) -> ExportSettings:
    from ..commands.export import ExportSettings

    return ExportSettings(**given)


def _export(runs: Path, which: list[str], images: dict[str, Any], settings: ExportSettings) -> Path:
    """The cache of one run, the newest teacher where none is named, or of the mean of several."""
    from .. import console
    from .. import runs as run_folders
    from ..commands.export import export_logits
    from ..commands.export_mean import export_mean

    teachers = [run_folders.find(runs, each) for each in which]
    if not teachers:
        teachers = [run_folders.newest(runs, "teach")]
        console.note(f"using the newest teacher, {teachers[0].name}")
    if len(teachers) > 1:
        return console.follow(export_mean(teachers, images, settings, console.decoding))
    return console.follow(export_logits(teachers[0], images, settings, console.decoding))


@cache.command(cls=Command)
@configurable
def info(path: CachePath = None, runs: options.Runs = options.DEFAULT_RUNS,
         as_json: options.AsJson = False) -> None:  # fmt: skip
    """Show what a cache holds, and which teacher it is from."""
    from .. import console
    from ..commands import caches
    from ..console.caches import print_cache

    opened = _open(path, runs)
    if as_json:
        own = {"path": str(opened.path), "warnings": opened.warnings}
        console.document({**own, **opened.attributes})
    else:
        caches.check_written_by_ltkd(opened)
        print_cache(caches.contents(opened), opened.attributes, opened.path.stat().st_size)


@cache.command(cls=Command)
@configurable
def verify(path: CachePath = None, runs: options.Runs = options.DEFAULT_RUNS) -> None:
    """Check every entry against its checksum."""
    from .. import console

    opened = _open(path, runs)
    opened.verify()
    console.result(f"{opened.path}: all {opened.layout.entries:,} entries are as written.")


def _open(path: Path | None, runs: Path) -> Cache:
    from .. import console
    from ..cache import Cache
    from ..commands import caches

    if path is None:
        for warned in caches.warn_of_dates(runs):
            console.warn(warned.text, warned.hint)
        path = caches.newest_cache(runs)
        console.note(f"using the newest cache, {path}")
    opened = Cache.open(path)
    for warning in opened.warnings:
        console.warn(warning)
    return opened
