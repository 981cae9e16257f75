"""From what the user asked for to settings without a gap: defaults, presets, newest files."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from ..data import DataSpec
from ..data.groups import GROUP_ALIASES, GROUP_NAMES
from ..errors import MethodError, UsageError
from ..events import Event, Note
from ..methods.contract import Method
from ..methods.finding import find
from ..methods.options import parse_options
from ..training.recipe import resolve as resolve_recipe
from ..views.policy import POLICIES, ViewPolicy
from . import caches as teacher_caches
from .settings import TrainSettings, with_images

AUGMENTATIONS = ("none", "jitter")
"""What `--augment` takes."""


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
    augment: str = "none"
    classes: str = "all"
    compile: bool = False


def resolve(root: Path, asked: Training) -> Generator[Event, None, TrainSettings]:
    """Settings for the request; says which cache it picked and what was assumed."""
    method = find(asked.method)
    options = parse_options(method, asked.options)
    _check(asked, method)
    caches = [*asked.caches]
    if method.needs and not caches:
        caches = [teacher_caches.newest_cache(root)]
        yield Note(f"using the newest cache, {caches[0]}")
    if not method.needs and asked.kind == "distill":
        spec, policy = yield from _baseline_images(root, asked)
        caches = []
    elif caches:
        spec = teacher_caches.data_spec_of(teacher_caches.open_cache(caches[0]))
        policy = None
    else:
        spec, policy = DataSpec(), None
    spec = with_images(spec, asked.images)
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
        views=asked.views or (policy.name if policy else ""),
        view_seed=policy.seed if policy else 0,
        caches=tuple(str(path) for path in caches),
        seed=asked.seed,
        precision=asked.precision,
        device=asked.device,
        evaluate_every=max(1, recipe.epochs // 10) if every is None else every,
        augment=asked.augment,
        classes=GROUP_ALIASES.get(asked.classes, asked.classes),
        compile=asked.compile,
    )


def _check(asked: Training, method: type[Method]) -> None:
    if asked.kind == "teach" and method.needs:
        raise MethodError(
            f"Method {asked.method} learns from a teacher, so it belongs to distill.",
            f"ltkd distill --method {asked.method}",
        )
    if len(asked.caches) > 1 and not method.several_teachers:
        raise MethodError(
            f"Method {asked.method} learns from one teacher, not from {len(asked.caches)}.",
            f"ltkd distill --method {asked.method} --cache {quote(str(asked.caches[0]))}",
        )
    if len(set(asked.caches)) < len(asked.caches):
        raise UsageError("The same --cache is given twice.", "ltkd distill, with each cache once")
    _check_choice("augment", asked.augment, AUGMENTATIONS)
    _check_choice("classes", asked.classes, ("all", *GROUP_NAMES, *GROUP_ALIASES))
    if asked.views is not None and asked.views not in POLICIES:
        raise UsageError(
            f"There is no view policy {asked.views!r}; there are {', '.join(POLICIES)}.",
            "--policy crop-flip",
        )


def _check_choice(option: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise UsageError(
            f"--{option} takes {', '.join(known)}, not {value!r}.", f"--{option} {known[-1]}"
        )


def _baseline_images(
    root: Path, asked: Training
) -> Generator[Event, None, tuple[DataSpec, ViewPolicy | None]]:
    """Images and views of the cache that is given, or of the newest, for a fair comparison.

    A method without a teacher takes nothing else from it, and sees views without limit.
    """
    path = asked.caches[0] if asked.caches else None
    if path is None and "data" not in asked.images:
        path = teacher_caches.newest_cache_or_none(root)
    if path is None:
        return DataSpec(), None
    cache = teacher_caches.open_cache(path)
    yield Note(f"{asked.method} needs no teacher; training on the images of {path}")
    return teacher_caches.data_spec_of(cache), teacher_caches.policy_of((cache,))
