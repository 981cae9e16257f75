"""Caches: what they hold, and who their teachers were."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..errors import command
from ..events import CacheContents, TeacherFound
from ..files import in_bytes
from . import terminal

COMPUTED = ("created", "autocast", "device")
"""Attributes that say when and how the outputs were computed."""

VERSIONS = ("ltkd", "torch", "h5py")
"""Attributes that say what wrote the file."""


def print_teacher(found: TeacherFound) -> None:
    """A cache that a student will learn from, to stderr."""
    cache = found.cache
    needs = " and ".join(found.needs)
    terminal.facts(
        cache.path,
        [
            ("images", cache.image_set),
            ("holds", _holds(cache)),
            ("views", f"{cache.policy}, seed {cache.view_seed}"),
            ("teacher", _teacher(cache)),
            ("teacher's accuracy", _accuracies(cache)),
            (f"{found.method} reads", f"{needs}, {found.sampler} sampling"),
        ],
    )


def print_cache(cache: CacheContents, attributes: dict[str, Any], size: int) -> None:
    """Everything about a cache of `size` bytes, to stdout."""
    terminal.facts(
        cache.path,
        [
            ("images", f"{cache.image_set}: {_listed(_chosen(attributes['data_spec']))}"),
            ("fingerprint", attributes["fingerprint"][:16]),
            ("holds", _holds(cache)),
            ("views", f"{cache.policy}, seed {cache.view_seed}"),
            ("size", in_bytes(size)),
            ("teacher", _teacher(cache)),
            ("teacher's accuracy", _accuracies(cache)),
            _origin(attributes),
            *_normalisation(attributes.get("teacher_model") or {}),
            ("teacher's recipe", _listed(attributes.get("teacher_recipe", {}))),
            ("computed", " ".join(str(attributes.get(name, "")) for name in COMPUTED)),
            ("written by", _listed({name: attributes.get(name) for name in VERSIONS})),
        ],
        to=terminal.STDOUT,
    )
    terminal.note(f"all its attributes: {command('cache', 'info', cache.path, '--json')}")


def _origin(attributes: dict[str, Any]) -> tuple[str, str]:
    """The runs, or the files, that the outputs are from, with the SHA-256 of each."""
    if outputs := attributes.get("teacher_outputs"):
        files = attributes.get("teacher_files", {})
        named = {files.get(what, what): sha256 for what, sha256 in outputs.items()}
        shown = (f"{name} with SHA-256 {sha256[:16]}" for name, sha256 in named.items())
        return "teacher's files", ", ".join(shown)
    if found := attributes.get("teacher_weights"):
        weights = f"weights {attributes['teacher_sha256'][:16]}"
        parts = [f"{name} {found[name]}" for name in ("part", "prefix") if found.get(name)]
        return "teacher's file", ", ".join([found["source"], weights, *parts])
    several = attributes.get("teacher_runs")
    runs = several or {attributes["teacher_run"]: attributes["teacher_sha256"]}
    shown = (f"{name} with weights {sha256[:16]}" for name, sha256 in runs.items())
    return ("teachers' runs" if several else "teacher's run"), ", ".join(shown)


def _normalisation(teacher: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """How a single network normalised the images; nothing for others."""
    if "mean" in teacher:
        mean, std = (",".join(f"{x:.3g}" for x in teacher[name]) for name in ("mean", "std"))
        yield "teacher's images", f"normalised with mean {mean} and std {std}"


def _holds(cache: CacheContents) -> str:
    fewest, most = cache.views
    views = str(most) if fewest == most else f"{fewest} to {most}"
    features = f" and {cache.width} features" if cache.width else ""
    return (
        f"{cache.dtype} logits of {cache.classes} classes{features} for {cache.images:,} images, "
        f"views of each: {views}"
    )


def _teacher(cache: CacheContents) -> str:
    if cache.from_elsewhere:
        return "not known; its outputs were computed elsewhere"
    experts = f" on {cache.trained_on} of {cache.classes} classes" if cache.trained_on else ""
    if cache.trained_by == "unknown":
        return f"{cache.teacher}, how it was trained is not known"
    several = f"the mean of {cache.averaged}: " if cache.averaged else ""
    return f"{several}{cache.teacher} trained by {cache.trained_by}{experts}"


def _accuracies(cache: CacheContents) -> str:
    """In percent, of the groups that have classes."""
    known = {name: value for name, value in cache.accuracies.items() if value is not None}
    listed = ", ".join(f"{name} {value:.1%}" for name, value in known.items()) or "not known"
    return f"{listed} (of training images)" if cache.scored_on == "train" else listed


def _chosen(data_spec: dict[str, Any]) -> dict[str, Any]:
    chosen = {name: value for name, value in data_spec.items() if value not in (None, False)}
    return {name: value for name, value in chosen.items() if name != "store"}


def _listed(values: dict[str, Any]) -> str:
    """`name value` after `name value`; what is off is left out."""
    shown = ((name.replace("_", " "), value) for name, value in values.items())
    return ", ".join(f"{name} {_value(value)}" for name, value in shown if value)


def _value(value: Any) -> str:
    return " and ".join(map(str, value)) if isinstance(value, list) else str(value)
