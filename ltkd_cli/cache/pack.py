"""Entries as they are stored: from float32 to a cache's own types, back, and their CRCs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from .layout import LIMIT, STORED, Layout

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


def first_unfit(values: NDArray[np.float32]) -> int | None:
    """Position, in the flattened array, of a value that is not finite or too large."""
    if np.abs(values).max(initial=0) < LIMIT:
        return None
    return int(np.flatnonzero(~(np.abs(values) < LIMIT))[0])


def checksums(stored: Mapping[str, NDArray[Any]]) -> NDArray[np.uint32]:
    """CRC-32 of each of n entries [n], over the datasets of `STORED` that are given."""
    parts = [stored[name] for name in STORED if name in stored]
    values = [0] * len(parts[0])
    for part in parts:
        values = _continue(values, part)
    return np.array(values, dtype="<u4")


def _continue(values: Sequence[int], part: NDArray[Any]) -> list[int]:
    rows = np.ascontiguousarray(part).data.cast("B")
    size = len(rows) // len(values)
    return [crc32(rows[i * size : (i + 1) * size], value) for i, value in enumerate(values)]


def damaged(stored: Mapping[str, NDArray[Any]], crc: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Entries whose bytes are not those their CRC was taken of, ascending."""
    block = 4096
    found = [
        start + np.flatnonzero(checksums(_rows(stored, start, start + block)) != expected)
        for start in range(0, len(crc), block)
        for expected in [crc[start : start + block]]
    ]
    return np.concatenate(found)


def _rows(stored: Mapping[str, NDArray[Any]], start: int, stop: int) -> dict[str, NDArray[Any]]:
    return {name: values[start:stop] for name, values in stored.items()}
