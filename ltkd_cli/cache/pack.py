"""Entries as they are stored: from float32 to a cache's own types, back, and their CRCs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .layout import LIMIT, Layout

BLOCK = 1024
"""Entries whose CRCs are computed at once."""

STEPS = 255
"""Steps of one uint8."""


def pack(
    layout: Layout, logits: NDArray[np.float32], features: NDArray[np.float32] | None
) -> dict[str, NDArray[Any]]:
    """Stored form of n entries, by dataset: logits [n, C], features [n, D]."""
    given = {"logits": logits} if features is None else {"logits": logits, "features": features}
    if layout.dtype == "uint8":
        given |= quantise(logits)
    return {
        name: np.ascontiguousarray(given[name], dtype=dataset.dtype)
        for name, dataset in layout.stored().items()
    }


def quantise(logits: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """Logits [n, C] as uint8, with the scale [n] and offset [n] that bring each row back.

    The smallest logit of a row becomes 0 and the largest 255; no logit moves by more than
    half a scale (and float32 rounding).
    """
    offset = logits.min(1)
    scale = (logits.max(1) - offset) / STEPS
    steps = (logits - offset[:, None]) / np.where(scale > 0, scale, 1)[:, None]
    rounded = np.rint(steps).clip(0, STEPS).astype(np.uint8)
    return {"logits": rounded, "logits_scale": scale, "logits_offset": offset}


def unpack(stored: Mapping[str, NDArray[Any]], name: str) -> Tensor:
    """Logits or features of n entries as float32, from their stored form."""
    values = torch.from_numpy(stored[name]).float()
    if name == "logits" and "logits_scale" in stored:
        scale, offset = (torch.from_numpy(stored[f"logits_{part}"]) for part in ("scale", "offset"))
        values.mul_(scale[:, None]).add_(offset[:, None])
    return values


def first_unfit(values: NDArray[np.float32]) -> int | None:
    """Position, in the flattened array, of a value that is not finite or too large."""
    if np.abs(values).max(initial=0) < LIMIT:
        return None
    return int(np.flatnonzero(~(np.abs(values) < LIMIT))[0])


def checksums(
    layout: Layout, stored: Mapping[str, NDArray[Any]], entries: NDArray[np.int64]
) -> NDArray[np.uint32]:
    """CRCs of n entries, given their numbers [n] and stored form: as dataset `crc` has them."""
    numbers = _of_numbers(layout, entries)
    columns = [_continued(numbers, [stored[name] for name in part]) for part in layout.parts]
    return columns[0] if layout.format == 1 else np.stack(columns, 1)


def damaged(
    layout: Layout,
    arrays: Mapping[str, NDArray[Any]],
    entries: NDArray[np.int64],
    names: frozenset[str] | None = None,
) -> NDArray[np.int64]:
    """Those of the entries [n] whose bytes are not those that their CRCs were taken of.

    `arrays` are a file's datasets. With `names`, only the parts that these belong to count.
    """
    parts = [
        (column, part)
        for column, part in enumerate(layout.parts)
        if names is None or not names.isdisjoint(part)
    ]
    crc = arrays["crc"].reshape(layout.entries, -1)
    wrong = np.zeros(len(entries), np.bool_)
    for start in range(0, len(entries), BLOCK):
        block = slice(start, start + BLOCK)
        own = entries[block]
        numbers = _of_numbers(layout, own)
        for column, part in parts:
            found = _continued(numbers, [arrays[name][own] for name in part])
            wrong[block] |= found != crc[own, column]
    return entries[wrong]


def _of_numbers(layout: Layout, entries: NDArray[np.int64]) -> list[int]:
    """What the CRCs of n entries begin with: that of their numbers, but in format 1."""
    if layout.format == 1:
        return [0] * len(entries)
    return [crc32(number) for number in entries.astype("<u8")[:, None]]


def _continued(values: list[int], arrays: Sequence[NDArray[Any]]) -> NDArray[np.uint32]:
    """CRC-32 of n entries [n], begun with n values, over their rows of each array [n, ...]."""
    for array in arrays:
        rows = np.ascontiguousarray(array).reshape(len(values), -1)
        values = [crc32(row.data, value) for row, value in zip(rows, values, strict=True)]
    return np.array(values, dtype="<u4")
