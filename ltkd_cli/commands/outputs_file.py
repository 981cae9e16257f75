"""Outputs in a NumPy file: opened without running anything in it, and checked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cache.layout import LIMIT
from ..errors import DataError, DataMismatch, look_at
from ..files import open_regular

BLOCK = 4096
"""Rows that are read at once."""

FLOATS = ("f2", "f4", "f8")
"""Types of numbers that outputs may have."""

SUM_TO_ONE = 1e-3
"""By which a row of probabilities may miss 1."""

ODD = (
    *(ValueError, TypeError, EOFError, SyntaxError, TokenError),
    *(OverflowError, RecursionError, MemoryError),
)
"""What NumPy may end in where a header is not one of its own."""

Array = NDArray[np.floating[Any]]


def open_outputs(path: Path) -> Array:
    """The numbers [rows, columns] in a .npy file, mapped; DataError for any other file."""
    try:
        with open(open_regular(path), "rb"):  # noqa: PTH123 - a pipe is not waited for
            pass
        found = np.lib.format.open_memmap(path, mode="c")  # "r" cannot become a tensor
    except OSError as error:
        why = error.strerror or str(error)
        raise DataError(f"{path} cannot be read: {why}.", look_at(path)) from error
    except ODD as error:
        why = str(error).splitlines()[0].rstrip(".") if str(error) else "it is cut short"
        raise DataError(f"{path} is no NumPy file of numbers: {why}.", _SAVE) from None
    if found.dtype.str[1:] not in FLOATS:
        raise DataError(f"{path} holds {found.dtype}, not floating-point numbers.", _SAVE)
    if found.ndim != 2 or 0 in found.shape:
        raise DataError(f"{path} has the shape {found.shape}, not rows by columns.", _SAVE)
    return found


_SAVE = "np.save(FILE, outputs) with float32 of shape (images, classes)"


def check_classes(path: Path, outputs: Array, class_names: tuple[str, ...]) -> None:
    """DataMismatch unless there is a column for each class."""
    if outputs.shape[1] != len(class_names):
        raise DataMismatch(
            f"{path} has {outputs.shape[1]:,} columns, and there are {len(class_names):,} classes.",
            "give one logit for each class, in the order of the classes",
        )


def check_rows(path: Path, outputs: Array, images: int, what: str, hint: str) -> None:
    """DataMismatch unless there is a row for each of so many images."""
    if len(outputs) != images:
        raise DataMismatch(
            f"{path} has {len(outputs):,} rows, and there are {images:,} {what}.", hint
        )


def check_numbers(path: Path, outputs: Array, what: str, split: str = "training") -> None:
    """DataError where a number is not finite or not below 60,000, as a cache needs them."""
    for start, block in blocks(outputs):
        bad = np.argwhere(~(np.abs(block) < LIMIT))
        if len(bad):
            row, column = bad[0].tolist()
            raise DataError(
                f"{path} has the {what} {block[row, column]:g} for {split} image {start + row}, "
                f"column {column}; a cache holds finite numbers below {LIMIT:,.0f}.",
                "compute them again in float32, before softmax",
            )


def check_logits(path: Path, outputs: Array) -> None:
    """DataError where the numbers are probabilities: a second softmax would flatten them."""
    if all((block >= 0).all() and _sum_to_one(block) for _, block in blocks(outputs)):
        raise DataError(
            f"{path} holds probabilities, not logits: every row sums to 1.",
            "np.log(np.maximum(probabilities, 1e-12)) gives logits of the same softmax",
        )


def blocks(outputs: Array) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """First row and numbers, float32, of some rows after the others."""
    for start in range(0, len(outputs), BLOCK):
        yield start, as_float32(outputs[start : start + BLOCK])


def as_float32(outputs: Array) -> NDArray[np.float32]:
    """The same numbers; those that are too large become infinite, which is then refused."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(outputs, np.float32)


def _sum_to_one(block: NDArray[np.float32]) -> bool:
    return bool((np.abs(block.sum(1, dtype=np.float64) - 1) < SUM_TO_ONE).all())
