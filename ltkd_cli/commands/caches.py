"""From a cache's attributes to what training needs to know of its teacher."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..cache import Cache
from ..data import Data, DataSpec
from ..data.groups import GROUP_NAMES
from ..errors import CacheError, CacheMismatch
from ..events import Event, Facts, Warned
from ..methods.contract import Method, Teacher
from ..methods.finding import name_of
from ..views.policy import VIEW_VERSION, ViewPolicy

SAID = (
    *("image_set", "data_spec", "groups", "view_policy", "view_seed", "view_version"),
    *("teacher_run", "teacher_sha256", "teacher_model", "teacher_method", "teacher_scores"),
)
"""Attributes that the format leaves open, and without which a student cannot be trained."""


def open_cache(path: Path) -> Cache:
    """The complete cache at `path`; CacheMismatch where it does not say what training asks."""
    cache = Cache.open(path)
    if lacking := [name for name in SAID if name not in cache.attributes]:
        raise CacheMismatch(
            f"{path} was not written by ltkd: it does not say its {', '.join(lacking)}.",
            "ltkd export-logits",
        )
    return cache


def newest_cache(root: Path) -> Path:
    """The cache below `root` that was finished last; CacheError where there is none."""
    newest = newest_cache_or_none(root)
    if newest is None:
        raise CacheError(f"There is no cache in {root} yet.", "ltkd export-logits")
    return newest


def newest_cache_or_none(root: Path) -> Path | None:
    """The same, or None where there is none."""
    found = root.glob("*/*.h5")
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def data_spec_of(cache: Cache) -> DataSpec:
    """The data set that the cache was exported from."""
    return DataSpec(**cache.attributes["data_spec"])


def policy_of(caches: tuple[Cache, ...]) -> ViewPolicy:
    """The view policy that all caches share; CacheMismatch where they differ."""
    policies = [
        ViewPolicy(cache.attributes["view_policy"], cache.attributes["view_seed"])
        for cache in caches
    ]
    for cache, policy in zip(caches, policies, strict=True):
        if policy != policies[0]:
            raise CacheMismatch(
                f"{cache.path} holds views of policy {policy.name} with seed {policy.seed}, and "
                f"{caches[0].path} of policy {policies[0].name} with seed {policies[0].seed}.",
                f"ltkd export-logits --policy {policies[0].name} --view-seed {policies[0].seed}",
            )
    return policies[0]


def check(cache: Cache, data: Data, method: type[Method]) -> None:
    """Raises CacheMismatch unless the cache is of these training images and fits the method."""
    train = data.train
    stored = cache.attributes["fingerprint"]
    cache.check(
        stored if train.matches(stored) else train.fingerprint,
        train.class_names,
        train.class_counts(),
        train.labels,
        data.name,
        dataclasses.asdict(data.spec),
    )
    cache.check_view_version(VIEW_VERSION)
    cache.require(method.needs)
    if experts_classes(cache) and not method.takes_experts:
        raise CacheMismatch(
            f"The teacher of {cache.path} learned {_share_of_classes(cache)} only, and "
            f"{name_of(method)} needs a teacher of all classes.",
            "ltkd distill --method lfme, with a --cache for each expert",
        )


def views_per_image(cache: Cache) -> tuple[int, int]:
    """The fewest and the most views that the cache holds of an image."""
    counts = np.diff(cache.layout.first)
    return int(counts.min()), int(counts.max())


def teacher_of(cache: Cache) -> Teacher:
    """What a method may know of the cache's teacher."""

    def clean(name: str) -> Tensor:
        rows = torch.arange(cache.layout.rows)
        return cache.read(rows, torch.zeros_like(rows), frozenset({name}))[name]

    scores = cache.attributes["teacher_scores"]
    return Teacher(
        method=cache.attributes["teacher_method"],
        width=cache.layout.width,
        clean=clean,
        classes=experts_classes(cache),
        scores={name: scores[name]["accuracy"] for name in scores if _is_group(scores, name)},
    )


def experts_classes(cache: Cache) -> tuple[int, ...]:
    """Classes that the teacher was trained on; empty where those are all."""
    return tuple(cache.attributes.get("teacher_classes") or ())


def contents(cache: Cache) -> str:
    """What the cache holds, in words."""
    layout = cache.layout
    fewest, most = views_per_image(cache)
    views = str(most) if fewest == most else f"{fewest} to {most}"
    features = f" and {layout.width} features" if layout.width else ""
    return (
        f"{layout.dtype} logits of {layout.classes} classes{features} for {layout.rows:,} images, "
        f"views of each: {views}"
    )


def needs_in_words(method: type[Method]) -> str:
    """What the method reads from a cache; empty for one without a teacher."""
    return " and ".join(sorted(method.needs, reverse=True))


def accuracies_in_words(scores: dict[str, Any]) -> str:
    """A teacher's test accuracies by group, in percent."""
    names = [name for name in ("all", *GROUP_NAMES) if _is_group(scores, name)]
    return ", ".join(f"{name} {scores[name]['accuracy']:.1%}" for name in names) or "not known"


def introduce(caches: Sequence[Cache], method: type[Method]) -> Iterator[Event]:
    """What the caches hold, who their teachers were and how good, and what the method needs."""
    for cache in caches:
        yield from _introduce(cache, method)
    experts = [experts_classes(cache) for cache in caches]
    if experts and all(experts):
        missing = caches[0].layout.classes - len(set().union(*experts))
        if missing:
            yield Warned(
                f"No expert has learned {missing} of the {caches[0].layout.classes} classes."
            )


def _introduce(cache: Cache, method: type[Method]) -> Iterator[Event]:
    held = cache.attributes
    scores = held["teacher_scores"]
    yield Facts(
        str(cache.path),
        (
            ("images", held["image_set"]),
            ("holds", contents(cache)),
            ("views", f"{held['view_policy']}, seed {held['view_seed']}"),
            ("teacher", _teacher_in_words(cache)),
            ("teacher's accuracy", accuracies_in_words(scores)),
            (f"{name_of(method)} reads", f"{needs_in_words(method)}, {method.sampler} sampling"),
        ),
    )
    yield from map(Warned, cache.warnings)
    yield from _cautions(cache, method, scores)


def _cautions(cache: Cache, method: type[Method], scores: dict[str, Any]) -> Iterator[Event]:
    trained_by = cache.attributes["teacher_method"]
    if trained_by != method.teacher:
        yield Warned(
            f"The source of {name_of(method)} trains its teacher by {method.teacher}; "
            f"the teacher of {cache.path} was trained by {trained_by}."
        )
    head = cache.attributes["teacher_model"]["head"]
    if "cosine" in method.head and head != method.head:
        yield Warned(
            f"The source of {name_of(method)} ends its teacher in a {method.head} layer; that of "
            f"{cache.path} ends in a {head} one. Train it with: ltkd teach --head {method.head}"
        )
    chance = 1 / cache.layout.classes
    if not experts_classes(cache) and scores["all"]["accuracy"] <= chance:
        yield Warned(f"The teacher of {cache.path} is no better than chance ({chance:.1%}).")


def _teacher_in_words(cache: Cache) -> str:
    held = cache.attributes
    learned = f" on {_share_of_classes(cache)}" if experts_classes(cache) else ""
    return f"{held['teacher_model']['name']} trained by {held['teacher_method']}{learned}"


def _share_of_classes(cache: Cache) -> str:
    return f"{len(experts_classes(cache))} of {cache.layout.classes} classes"


def _is_group(scores: dict[str, Any], name: str) -> bool:
    value = scores[name]
    return isinstance(value, dict) and value.get("accuracy") is not None
