"""Whether two descriptions of an export, or of an image set, say the same; and if not, what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .attributes import json_text
from .layout import Layout

INFORMATION = frozenset(
    [
        *("complete", "created", "ltkd", "torch", "torchvision", "h5py"),
        *("teacher_run", "teacher_recipe", "teacher_setting", "teacher_scores"),
        "test_fingerprint",
        *("data_spec", "image_set", "groups"),
    ]
)
"""Attributes that may differ when a partial file is resumed.

They say when, where and by which versions; what they describe beyond that is pinned by the
fingerprint of the images and the SHA-256 of the teacher's weights.
"""

ELSEWHERE = frozenset({"root", "test_list", "download", "groups"})
"""Fields of a data set's description that do not choose the training images."""

ABSENT = object()
"""Stands where one of two descriptions lacks a field."""

MAX_LINES = 12
"""Differences that are spelled out; more are counted."""

MAX_LETTERS = 60
"""Letters of a value that are shown."""

Difference = tuple[str, Any, Any]
"""Name of a field, and its value on either side."""


def differences(left: Any, right: Any, name: str = "") -> Iterator[Difference]:
    """Yields the innermost fields in which two JSON values differ, as `outer.inner[3]`."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        for key in sorted(left.keys() | right.keys()):
            field = f"{name}.{key}" if name else key
            yield from differences(left.get(key, ABSENT), right.get(key, ABSENT), field)
    elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for i, (a, b) in enumerate(zip(left, right, strict=True)):
            yield from differences(a, b, f"{name}[{i}]")
    elif left != right:
        yield name, left, right


def of_exports(
    stored: tuple[Layout, Mapping[str, Any]], wanted: tuple[Layout, Mapping[str, Any]]
) -> list[Difference]:
    """Differences between a partial file's layout and attributes and those of an export."""
    return [*_of_layouts(stored[0], wanted[0]), *_of_attributes(stored[1], wanted[1])]


def of_image_sets(
    stored: Mapping[str, Any],
    given: Mapping[str, Any],
    stored_labels: NDArray[Any],
    given_labels: NDArray[Any],
) -> list[Difference]:
    """Differences between the image set of a cache and another, described by attributes.

    Empty where fingerprint, class counts and labels agree, wherever the images lie.
    """
    fingerprints = stored.get("fingerprint"), given["fingerprint"]
    counts = (np.array(side["class_counts"]) for side in (stored, given))
    found = [
        *differences(*fingerprints, "fingerprint of the images"),
        *_of_arrays("images of class", *counts),
        *_of_arrays("label of row", stored_labels, given_labels),
    ]
    if not found:
        return []
    named = ("image_set", "data_spec")
    explained = differences({k: stored.get(k) for k in named}, {k: given[k] for k in named})
    return [*(d for d in explained if d[0].rpartition(".")[2] not in ELSEWHERE), *found]


def of_class_names(stored: Sequence[str], given: Sequence[str]) -> str:
    """How two lists of class names differ, in words; empty where they do not."""
    if list(stored) == list(given):
        return ""
    if len(stored) != len(given):
        return f"it has {len(stored)} classes, and the image set has {len(given)}"
    c = next(c for c, (a, b) in enumerate(zip(stored, given, strict=True)) if a != b)
    what = "another order of the same" if sorted(stored) == sorted(given) else "other"
    return f"it has {what} classes, class {c} is {stored[c]!r} there and {given[c]!r} here"


def lines(found: Sequence[Difference], left: str, right: str) -> str:
    """One line for each difference: `field: LEFT has X, RIGHT has Y`."""
    shown = [
        f"\n  {name}: {left} has {_show(a)}, {right} has {_show(b)}"
        for name, a, b in found[:MAX_LINES]
    ]
    more = len(found) - MAX_LINES
    return "".join(shown) + (f"\n  and {more} more" if more > 0 else "")


def _of_layouts(left: Layout, right: Layout) -> list[Difference]:
    found = [*differences(_numbers(left), _numbers(right))]
    if left.rows == right.rows:
        found += _of_arrays("views of row", np.diff(left.first), np.diff(right.first))
        found += _of_arrays("label of row", left.labels, right.labels)
    return found


def _numbers(layout: Layout) -> dict[str, Any]:
    return {name: getattr(layout, name) for name in ("rows", "classes", "width", "dtype")}


def _of_attributes(left: Mapping[str, Any], right: Mapping[str, Any]) -> Iterator[Difference]:
    return differences(_that_matter(left), _that_matter(right))


def _that_matter(attributes: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in attributes.items() if name not in INFORMATION}
    if isinstance(kept.get("device"), str):
        kept["device"] = kept["device"].partition(":")[0]
    return kept


def _of_arrays(name: str, left: NDArray[Any], right: NDArray[Any]) -> list[Difference]:
    """The first element that differs, and how many do."""
    if left.shape != right.shape:
        return [(f"{name.rpartition(' ')[2]}s", len(left), len(right))]
    where = np.flatnonzero(left != right)
    if not len(where):
        return []
    i = int(where[0])
    more = f" (and {len(where) - 1} more)" if len(where) > 1 else ""
    return [(f"{name} {i}{more}", int(left[i]), int(right[i]))]


def _show(value: Any) -> str:
    if value is ABSENT:
        return "nothing"
    text = json_text(value)
    return text if len(text) <= MAX_LETTERS else f"{text[:MAX_LETTERS]}..."
