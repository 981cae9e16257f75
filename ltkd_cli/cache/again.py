"""The command that writes a cache anew, or goes on with one, from what the cache says of itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import Hint, command
from .layout import Layout

if TYPE_CHECKING:
    from ..views.policy import Policy

USUAL = (None, False, 0, "", "auto", "exp", "digits-lt")
"""What fields of a data set's description hold where no option was given."""

OPTIONS = {"root": "--data-root"}
"""Field -> its option, where that is not called as the field."""


def export_again(
    path: Path,
    attributes: Mapping[str, Any],
    layout: Layout,
    *more: str,
    features: bool = False,
    remark: str = "",
) -> Hint:
    """`export-logits` for a cache `path` of the teacher, the views and the number formats of one.

    `attributes` and `layout` are that cache's; with `features` the new one holds some, whether
    the old one does or not. What a run keeps of a frozen backbone is to be removed instead.
    """
    if attributes.get("backbone"):
        return f"rm -- {quote(str(path))}"
    given = [*_teacher(path, attributes, features)]
    if not attributes.get("teacher_outputs"):
        given += _views(attributes, layout)
    given += _formats_and_images(attributes, layout, features)
    if features and _several(attributes):
        remark = "for those of one run"
    return command("export-logits", *given, "--output", path, *more, remark=remark)


def export_viewed(
    path: Path, attributes: Mapping[str, Any], layout: Layout, policy: Policy
) -> Hint:
    """The same for views of another policy or seed, into a file that is named after them."""
    if attributes.get("teacher_outputs"):  # which are of clean images
        remark = "with a teacher that ltkd runs itself"
        seed = _unless("--view-seed", str(policy.seed), "0")
        return command("export-logits", "RUN", "--policy", policy.name, *seed, remark=remark)
    other = {**attributes, "view_policy": policy.name, "view_seed": policy.seed}
    views = [*_views(other, layout)]
    if not policy.has_views or attributes.get("view_policy") == "none":
        del views[:2]  # as many as the policy has by itself
    given = [*_teacher(path, attributes, features=False), *views]
    given += _formats_and_images(attributes, layout)
    if policy.seed != (attributes.get("view_seed") or 0):  # of which the usual name says nothing
        given += ["--output", str(path.with_stem(f"{path.stem}-seed{policy.seed}"))]
    return command("export-logits", *given)


def export_recorded(
    path: Path, parent: Mapping[str, Any], images: Mapping[str, Any], remark: str
) -> Hint:
    """The same for a cache that is gone, from what the run of a student keeps of it.

    `images` is the description of the run's data set.
    """
    attributes = {**parent, "teacher_model": {"name": parent["teacher_model"]}, "data_spec": images}
    width = int(parent.get("features", True))
    one = np.zeros(1, np.int64)
    layout = Layout.even(one, 1, parent["views_per_image"], width, parent.get("dtype", "float16"))
    return export_again(path, attributes, layout, remark=remark)


def export_unread(path: Path, *more: str) -> Hint:
    """The same for a cache that cannot be read, as far as the folder that it lies in tells."""
    run = str(path.parent) if (path.parent / "run.json").is_file() else "RUN"
    remark = "with the --views and the --policy that it had"
    return command("export-logits", run, "--output", path, *more, remark=remark)


def _several(attributes: Mapping[str, Any]) -> Mapping[str, str]:
    """The runs whose mean the outputs are; empty where they are of one teacher."""
    return attributes.get("teacher_runs") or {}


def _teacher(path: Path, attributes: Mapping[str, Any], features: bool) -> Iterator[str]:
    if files := attributes.get("teacher_outputs"):
        named = attributes.get("teacher_files") or {}
        for name in (*files, *(["features"] if features and "features" not in files else [])):
            yield from (f"--{name}", named.get(name, f"{name.upper()}.npy"))
        if attributes.get("test_outputs"):
            yield from ("--test-logits", named.get("test_logits", "TEST-LOGITS.npy"))
    elif weights := attributes.get("teacher_weights"):
        network = attributes["teacher_model"]["name"]
        own = weights["source"] == network
        yield from ("--model", network)
        yield from ("--pretrained",) if own else ("--weights", weights["source"])
        for name in ("mean", "std"):
            yield from (f"--{name}", str(weights[name])) if name in weights else ()
    else:
        names = [*_several(attributes)] or [attributes.get("teacher_run") or "RUN"]
        if features:  # which a mean of several has not
            names = names[:1]
        yield from (str(path.parent) if name == path.parent.name else name for name in names)


def _formats_and_images(
    attributes: Mapping[str, Any], layout: Layout, features: bool = False
) -> Iterator[str]:
    if not attributes.get("teacher_outputs"):
        if not (layout.width or features or _several(attributes)):
            yield "--no-features"
        yield from _unless("--precision", attributes.get("autocast"), "float32")
    yield from _unless("--dtype", layout.dtype, "float16")
    if attributes.get("teacher_outputs") or attributes.get("teacher_weights"):
        yield from image_options(attributes.get("data_spec") or {})


def image_options(spec: Mapping[str, Any]) -> Iterator[str]:
    """The options that say which images a description is of."""
    for name, value in spec.items():
        if value not in USUAL:
            option = OPTIONS.get(name, f"--{name.replace('_', '-')}")
            yield from (option,) if value is True else (option, f"{value}")


def _views(attributes: Mapping[str, Any], layout: Layout) -> Iterator[str]:
    yield from ("--views", str(int(np.diff(layout.first).max())))
    if policy := attributes.get("view_policy"):
        yield from ("--policy", policy)
    yield from _unless("--view-seed", str(attributes.get("view_seed") or 0), "0")


def _unless(option: str, value: Any, usual: str) -> list[str]:
    return [] if value in (usual, None) else [option, str(value)]
