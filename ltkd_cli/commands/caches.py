"""From a cache's attributes to what training needs to know of its teacher."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from shlex import quote
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor

from .. import runs
from ..cache import Cache
from ..cache.again import export_viewed
from ..data import Data, DataSpec
from ..errors import CacheError, CacheMismatch, Command, Hint, RunError, command
from ..events import CacheContents, Event, TeacherFound, Warned
from ..methods.contract import Method, Teacher
from ..methods.finding import find, name_of
from ..records import Invalid, checked, parse_json
from ..runs import Run
from ..runs.folder import TOLERANCE
from ..runs.record import AccuracyRecord, GroupsRecord
from ..splits import SPLITS
from ..views.policy import POLICIES, VIEW_VERSION, Policy
from .checks import refuse_chance


class _TeacherModel(TypedDict):
    name: str
    head: str


class _Accuracies(TypedDict, total=False):
    all: AccuracyRecord
    head: AccuracyRecord
    medium: AccuracyRecord
    tail: AccuracyRecord
    balanced_accuracy: AccuracyRecord


class Needed(TypedDict):
    """Attributes that the format leaves open, and without which a student cannot be trained."""

    image_set: str
    data_spec: DataSpec
    groups: GroupsRecord
    view_policy: str
    view_seed: int
    view_version: int
    teacher_run: str
    teacher_sha256: str
    teacher_model: _TeacherModel
    teacher_method: str
    teacher_scores: _Accuracies


CLEAN_VALUES = 2**24
"""Of a block of clean outputs: 64 MiB in float32."""

UNKNOWN = "unknown"
"""How a teacher that is no run was trained; of outputs alone also what computed them."""


def open_cache(path: Path) -> Cache:
    """The complete cache at `path`; CacheMismatch where it lacks what training needs."""
    cache = Cache.open(path)
    check_written_by_ltkd(cache)
    return cache


def check_written_by_ltkd(cache: Cache) -> None:
    """Raises CacheMismatch where an attribute that training needs is missing or odd."""
    held = cache.attributes
    try:
        if lacking := [name for name in Needed.__annotations__ if name not in held]:
            raise Invalid(f"it lacks {', '.join(lacking)}")
        checked(held, Needed)
        parse_json(json.dumps(held).encode())  # as the record of a student will hold it
        if len(held["groups"]["of_class"]) != cache.layout.classes:
            raise Invalid("groups.of_class does not name the group of each class")
    except Invalid as error:
        raise CacheMismatch(
            f"{cache.path} was not written by ltkd: {error}.", command("export-logits")
        ) from None


def newest_cache(root: Path) -> Path:
    """The cache below `root` that was finished last; CacheError where there is none."""
    newest = find_newest(root)
    if newest is None:
        raise CacheError(f"There is no cache in {root} yet.", command("export-logits"))
    return newest


def find_newest(root: Path) -> Path | None:
    """The same, or None where there is none. Those dated in the future count as oldest."""
    found = [(not _is_ahead(seconds), seconds, path) for seconds, path in _dated(root)]
    return max(found)[2] if found else None


def warn_of_dates(root: Path) -> Iterator[Warned]:
    """A warning for each cache below `root` whose date lies in the future."""
    for seconds, path in sorted(_dated(root)):
        if _is_ahead(seconds):
            yield Warned(
                f"{path} is dated in the future, so it counts as older than all other caches.",
                f"touch -- {quote(str(path))}",
            )


def _dated(root: Path) -> Iterator[tuple[float, Path]]:
    """When each cache below `root` was last written, in seconds of the epoch."""
    for path in root.glob("*/*.h5"):
        with suppress(OSError):  # a link may lead nowhere, and a file may be gone by now
            if path.is_file():
                yield path.stat().st_mtime, path


def _is_ahead(seconds: float) -> bool:
    return seconds > time.time() + TOLERANCE.total_seconds()


def data_spec_of(cache: Cache) -> DataSpec:
    """The data set that the cache was exported from."""
    return DataSpec(**cache.attributes["data_spec"])


def policy_of(caches: tuple[Cache, ...]) -> Policy:
    """The view policy that all caches share; CacheMismatch where they differ."""
    policies = [_policy_of(cache) for cache in caches]
    for cache, policy in zip(caches, policies, strict=True):
        if policy != policies[0]:
            clean = bool(cache.attributes.get("teacher_outputs"))  # of which there are no others
            raise CacheMismatch(
                f"{cache.path} holds views of policy {policy.name} with seed {policy.seed}, and "
                f"{caches[0].path} of policy {policies[0].name} with seed {policies[0].seed}.",
                exported(caches[0], policy) if clean else exported(cache, policies[0]),
            )
    return policies[0]


def exported(cache: Cache, policy: Policy) -> Hint:
    """The command that exports the teacher of a cache for views of another policy."""
    return export_viewed(cache.path, cache.attributes, cache.layout, policy)


def _policy_of(cache: Cache) -> Policy:
    """CacheMismatch where this ltkd makes other pixels, or none, for the cache's views."""
    held = cache.attributes
    if held.get("policy") is not None:
        return Policy.from_json(held["policy"], str(cache.path))
    cache.check_view_version(VIEW_VERSION)  # of format 1
    if held["view_policy"] not in POLICIES:
        raise CacheMismatch(
            f"{cache.path} holds outputs for views of policy {held['view_policy']!r}, which does "
            "not exist.",
            command("export-logits"),
        )
    return Policy(held["view_policy"], held["view_seed"])


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
    policy_of((cache,))
    cache.require(method.needs)
    if experts_classes(cache) and not method.takes_experts:
        raise CacheMismatch(
            f"The teacher of {cache.path} was trained on {len(experts_classes(cache))} of "
            f"{cache.layout.classes} classes, and {name_of(method)} needs a teacher of all.",
            command("distill", "--method", "lfme", remark="with a --cache for each expert"),
        )


def suited(cache: Cache) -> str:
    """The name of the method whose source trains such a teacher as that of the cache."""
    head, trained_by = cache.attributes["teacher_model"]["head"], cache.attributes["teacher_method"]
    if experts_classes(cache):
        return "lfme"
    if head.startswith("cosine") and "features" in cache.layout.names:
        return "cbd"
    return "dive" if trained_by == "balanced-softmax" else "bkd"


def views_per_image(cache: Cache) -> tuple[int, int]:
    """The fewest and the most views that the cache holds of an image."""
    counts = np.diff(cache.layout.first)
    return int(counts.min()), int(counts.max())


def teacher_of(cache: Cache) -> Teacher:
    """What a method may know of the cache's teacher."""

    layout, every = cache.layout, torch.arange(cache.layout.rows)
    size = max(1, CLEAN_VALUES // max(layout.classes, layout.width))

    def clean(name: str) -> Iterator[Tensor]:
        for rows in torch.split(every, size):
            yield cache.read(rows, torch.zeros_like(rows), frozenset({name}))[name]

    return Teacher(layout.width, clean, experts_classes(cache))


def experts_classes(cache: Cache) -> tuple[int, ...]:
    """Classes that the teacher was trained on; empty where those are all."""
    return tuple(cache.attributes.get("teacher_classes") or ())


def contents(cache: Cache) -> CacheContents:
    """What the cache holds, and who its teacher was."""
    held, layout = cache.attributes, cache.layout
    return CacheContents(
        path=str(cache.path),
        image_set=held["image_set"],
        images=layout.rows,
        classes=layout.classes,
        width=layout.width,
        dtype=layout.dtype,
        views=views_per_image(cache),
        policy=held["view_policy"],
        view_seed=held["view_seed"],
        teacher=held["teacher_model"]["name"],
        trained_by=held["teacher_method"],
        trained_on=len(experts_classes(cache)),
        accuracies=_accuracies(held["teacher_scores"]),
        scored_on=held.get("test_split") or "test",
        from_elsewhere=bool(held.get("teacher_outputs")),
        averaged=len(held.get("teacher_runs") or ()),
    )


def introduce(caches: Sequence[Cache], method: type[Method]) -> Iterator[Event]:
    """What the caches hold and the method reads there, and warnings where they do not suit."""
    for cache in caches:
        needs = tuple(sorted(method.needs, reverse=True))
        yield TeacherFound(contents(cache), name_of(method), needs, method.sampler)
        yield from map(Warned, cache.warnings)
        yield from _warnings(cache, method)
    experts = [experts_classes(cache) for cache in caches]
    if experts and all(experts):
        missing = caches[0].layout.classes - len(set().union(*experts))
        if missing:
            yield Warned(
                f"No expert was trained on {missing} of the {caches[0].layout.classes} classes."
            )


def _warnings(cache: Cache, method: type[Method]) -> Iterator[Event]:
    name, held = name_of(method), cache.attributes
    if held["teacher_method"] == UNKNOWN:
        yield Warned(
            f"How the teacher of {cache.path} was trained is not known; the source of {name} "
            f"trains it by {method.teacher}."
        )
    elif held["teacher_method"] != method.teacher:
        yield Warned(
            f"The source of {name} trains its teacher by {method.teacher}; "
            f"the teacher of {cache.path} was trained by {held['teacher_method']}."
        )
    head = held["teacher_model"]["head"]
    if "cosine" in method.head and head != method.head:
        yield Warned(
            f"The source of {name} ends its teacher in a {method.head} layer; that of "
            f"{cache.path} ends in a {head} one.",
            _teach_with_head(cache.path, method.head),
        )


def _teach_with_head(path: Path, head: str) -> Command:
    """The command that trains the teacher of a cache with another head."""
    run = taught_in(path.parent)
    own = run is None or find(run.settings["method"]).head_is_given  # whose loss needs its head
    same = () if run is None or own else ("--config", run.config)
    return command("teach", *same, "--head", head, remark="for such a teacher")


def taught_in(folder: Path) -> Run | None:
    """The run of `teach` in a folder whose config.toml repeats it; None where there is none."""
    try:
        run = runs.read(folder)
    except RunError:
        return None
    return run if run.kind == "teach" and run.config.is_file() else None


def refuse_no_better_than_chance(
    caches: Sequence[Cache], method: type[Method], force: bool
) -> Iterator[Event]:
    """CacheMismatch for a teacher that is no better than chance; with `force` warns."""
    for cache in caches:
        if not experts_classes(cache):
            yield from refuse_chance(
                f"The teacher of {cache.path}",
                cache.attributes["teacher_scores"],
                cache.layout.classes,
                command(
                    *("distill", "--method", name_of(method), "--cache", cache.path, "--force"),
                    remark="to insist",
                ),
                force,
                CacheMismatch,
            )


def _accuracies(scores: dict[str, Any]) -> dict[str, float | None]:
    """By split, as far as they are known, in [0, 1]; None where a group is empty."""
    return {name: scores[name]["accuracy"] for name in SPLITS if name in scores}
