"""Whether two descriptions of an export, or of an image set, agree; and if not, where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from ..errors import shortened
from .attributes import json_text
from .layout import Layout

INFORMATION = frozenset(
    [
        *("complete", "created", "ltkd", "torch", "torchvision", "h5py"),
        *("teacher_run", "teacher_files", "teacher_recipe", "teacher_setting", "teacher_scores"),
        *("data_spec", "image_set"),
    ]
)
"""Attributes that may differ when a partial file is resumed.

They say when, where and by which versions; what they describe beyond that is pinned by the
fingerprint of the images and the SHA-256 of the teacher's weights.
"""

ABSENT = object()
"""Stands where one of two descriptions lacks a field."""

MAX_LINES = 12
"""Differences that are spelled out; more are counted."""

Difference = tuple[str, Any, Any]
"""Name of a field, as `outer.inner[3]`, and its value on either side."""


def differences(left: Any, right: Any) -> list[Difference]:
    """The innermost fields in which two JSON values differ, left's order first.

    What one of them lacks is ABSENT there.
    """
    return list(_differences(left, right, ""))


def of_exports(
    stored: tuple[Layout, Mapping[str, Any]], wanted: tuple[Layout, Mapping[str, Any]]
) -> list[Difference]:
    """Differences between a cache's layout and attributes and those of an export."""
    return differences(
        *(_numbers(layout) | _that_matter(held) for layout, held in (stored, wanted))
    )


def lines(found: Sequence[Difference], left: str, right: str) -> str:
    """One line for each difference: `field: LEFT has X, RIGHT has Y`."""
    shown = [
        f"\n  {name}: {left} has {_show(a)}, {right} has {_show(b)}"
        for name, a, b in found[:MAX_LINES]
    ]
    more = len(found) - MAX_LINES
    return "".join(shown) + (f"\n  and {more} more" if more > 0 else "")


def _differences(left: Any, right: Any, name: str) -> Iterator[Difference]:
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        for key in {**left, **right}:
            inner = f"{name}.{key}" if name else str(key)
            yield from _differences(left.get(key, ABSENT), right.get(key, ABSENT), inner)
    elif isinstance(left, list) and isinstance(right, list):
        for number, (one, other) in enumerate(zip_longest(left, right, fillvalue=ABSENT)):
            yield from _differences(one, other, f"{name}[{number}]")
    elif left != right:
        yield name, left, right


def _numbers(layout: Layout) -> dict[str, Any]:
    numbers = {name: getattr(layout, name) for name in ("rows", "classes", "width", "dtype")}
    return {**numbers, "views": np.diff(layout.first).tolist(), "labels": layout.labels.tolist()}


def _that_matter(attributes: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in attributes.items() if name not in INFORMATION}
    if isinstance(kept.get("device"), str):
        kept["device"] = kept["device"].partition(":")[0]
    return kept


def _show(value: Any) -> str:
    if value is ABSENT:
        return "nothing"
    return shortened(json_text(value))
