"""Whether a run can go on: its images and its teachers' outputs, where they lie now."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..cache.again import export_recorded
from ..cache.target import partial_of
from ..errors import CacheError, CacheMismatch, DataMismatch, RunError, UsageError
from ..runs import Run
from .prepare import Prepared
from .provenance import crc_sha256
from .settings import Settings, moved


def in_place(
    run: Run,
    settings: Settings,
    place: dict[str, Any],
    caches: Sequence[Path] | None,
    machine: dict[str, Any],
) -> Settings:
    """The settings with images and caches where they lie now, and what `machine` has of others."""
    if caches and len(caches) != len(settings.caches):
        learns = f"learns from {len(settings.caches)}" if settings.caches else "learns from none"
        raise UsageError(
            f"{run.name} {learns}, and --cache names {len(caches)}.", run.resume_command
        )
    moved_caches = tuple(str(path) for path in caches or settings.caches)
    data = moved(settings.data, place)
    return dataclasses.replace(settings, data=data, caches=moved_caches, **machine)


def require_caches(run: Run, settings: Settings) -> None:
    """CacheError where the cache of a teacher is gone, with the command that makes it anew."""
    images = dataclasses.asdict(settings.data)
    for name, parent in zip(settings.caches, _taught_by(run, settings), strict=True):
        path = Path(name)
        if not (os.path.lexists(path) or os.path.lexists(partial_of(path))):
            places = " --cache PLACE" * len(settings.caches)
            remark = f"or, where it was moved: {run.resume_command}{places}"
            raise CacheError(
                f"The cache {path}, from which {run.name} learns, is not there.",
                export_recorded(path, parent, images, remark),
            )


def check_unchanged(run: Run, prepared: Prepared) -> None:
    """DataMismatch or CacheMismatch where images or outputs are not those of the beginning."""
    data, known = prepared.data, run.record["data"]
    splits = {"train": data.train, "validation": data.validation, "test": data.test}
    for split, images in splits.items():
        recorded = known.get(split)
        same = images.matches(recorded) if images else recorded is None
        if not same:
            raise DataMismatch(
                f"The {split} images of {run.name} are not what they were when it began.",
                run.anew(),
            )
    parents = _taught_by(run, prepared.settings)
    for cache, parent in zip(prepared.caches, parents, strict=True):
        if crc_sha256(cache) != parent["crc_sha256"]:
            raise CacheMismatch(
                f"The outputs in {cache.path} are not those that {run.name} began with.",
                run.anew("--cache", cache.path),
            )


def _taught_by(run: Run, settings: Settings) -> list[dict[str, Any]]:
    """What run.json keeps of each cache; RunError where it is of others than the settings name."""
    parents = [parent for parent in run.record["parents"] if parent["kind"] == "cache"]
    if len(parents) != len(settings.caches):
        raise RunError(
            f"{run.path / 'run.json'} names {len(settings.caches)} caches in its settings, and "
            f"{len(parents)} as parents.",
            run.anew(),
        )
    return parents
