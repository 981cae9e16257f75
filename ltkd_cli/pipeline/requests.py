"""From what the user asked for to settings without a gap: defaults, presets, newest files."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..cache import Cache
from ..data import DataSpec
from ..data.view import POLICIES
from ..errors import MethodError, UsageError
from ..events import Event, Note
from ..method import find, parse_options
from ..recipe import resolve as resolve_recipe
from . import caches as teacher_caches
from .settings import TrainSettings


@dataclass(frozen=True)
class Training:
    """A `teach` or `distill` as the user typed it; None and empty where nothing was said."""

    kind: str
    images: dict[str, Any]
    model: str
    method: str
    options: list[str]
    recipe_name: str | None
    recipe: dict[str, Any]
    head: str | None
    pretrained: bool
    views: str | None
    caches: list[Path]
    seed: int
    device: str
    precision: str
    evaluate_every: int | None


def resolve(root: Path, asked: Training) -> Generator[Event, None, TrainSettings]:
    """Settings for the request; says which cache it picked, what that holds, what was assumed."""
    method = find(asked.method)
    options = parse_options(method, asked.options)
    if asked.kind == "teach" and method.needs:
        raise MethodError(
            f"Method {asked.method} learns from a teacher, so it belongs to distill.",
            f"ltkd distill --method {asked.method}",
        )
    if asked.views is not None and asked.views not in POLICIES:
        raise UsageError(
            f"There is no view policy {asked.views!r}; there are {', '.join(POLICIES)}.",
            "--views crop-flip",
        )
    caches = [*asked.caches]
    if method.needs and not caches:
        caches = [teacher_caches.newest_cache(root)]
        yield Note(f"using the newest cache, {caches[0]}")
    opened = [Cache.open(path) for path in caches]
    for cache in opened:
        yield from teacher_caches.introduce(cache, method)
    spec = yield from _data_spec(root, asked, opened)
    preset = asked.recipe_name or ("quick" if spec.data == "digits-lt" else "ldam")
    recipe = resolve_recipe(preset, asked.recipe)
    every = asked.evaluate_every
    return TrainSettings(
        data=spec,
        model=asked.model,
        head=asked.head or "",
        pretrained=asked.pretrained,
        method=asked.method,
        options=options,
        recipe_name=preset,
        recipe=recipe,
        views=asked.views or "",
        view_seed=0,
        caches=tuple(str(path) for path in caches),
        seed=asked.seed,
        precision=asked.precision,
        device=asked.device,
        evaluate_every=max(1, recipe.epochs // 10) if every is None else every,
    )


def _data_spec(
    root: Path, asked: Training, opened: list[Cache]
) -> Generator[Event, None, DataSpec]:
    """The cache's own images unless told otherwise; a baseline takes those of the newest cache."""
    base = DataSpec()
    if opened:
        base = teacher_caches.data_spec_of(opened[0])
    elif asked.kind == "distill" and "data" not in asked.images:
        newest = teacher_caches.newest_cache_or_none(root)
        if newest:
            base = teacher_caches.data_spec_of(Cache.open(newest))
            yield Note(f"{asked.method} needs no teacher; training on the images of {newest}")
    return dataclasses.replace(base, **asked.images)
