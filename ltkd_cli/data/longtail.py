"""Which rows of a set form its long-tailed subset."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, UsageError
from .imageset import DataSpec

KINDS = ("exp", "step")
"""How class counts may fall from the first class to the last."""

SEEDS = 2**32
"""NumPy's legacy generator takes seeds below this."""


def long_tail_rows(
    labels: NDArray[np.int64],
    classes: int,
    largest: int,
    imbalance: float,
    kind: str = "exp",
    seed: int = 0,
) -> NDArray[np.int64]:
    """Rows of the subset of `labels` [N], class after class, class 0 the largest.

    A class with fewer images than the long tail grants it keeps all of them. UsageError for
    values that no long tail has, DataError where a class would be left without images.
    """
    check(imbalance, kind, seed)
    counts = long_tail_counts(largest, classes, imbalance, kind)
    if 0 in counts:
        raise DataError(
            f"An imbalance of {imbalance:g} leaves class {counts.index(0)} without an image: "
            f"the largest class has {largest:,}.",
            f"--imbalance {max(largest // 2, 1)}",
        )
    return choose_rows(labels, counts, seed)


def rows_of_spec(
    labels: NDArray[np.int64], classes: int, spec: DataSpec
) -> NDArray[np.int64] | None:
    """The same for what a spec asks of a set whose largest class stays; None where of nothing."""
    if spec.imbalance is None:
        return None
    largest = int(np.bincount(labels).max())
    how = (spec.imbalance, spec.imbalance_type, spec.imbalance_seed)
    return long_tail_rows(labels, classes, largest, *how)


def check(imbalance: float, kind: str, seed: int) -> None:
    """UsageError for values that no long tail has."""
    if not (math.isfinite(imbalance) and imbalance >= 1):
        raise UsageError(f"The imbalance is 1 or more, not {imbalance:g}.", "--imbalance 100")
    if kind not in KINDS:
        raise UsageError(
            f"The imbalance type is exp or step, not {kind!r}.", "--imbalance-type exp"
        )
    if not 0 <= seed < SEEDS:
        raise UsageError(
            f"The imbalance seed lies between 0 and {SEEDS - 1}, not at {seed}.",
            "--imbalance-seed 0",
        )


def long_tail_counts(largest: int, classes: int, imbalance: float, kind: str = "exp") -> list[int]:
    """Number of training images to keep of each class, class 0 the largest.

    `exp` falls geometrically, n_c = int(largest * (1 / imbalance) ** (c / (C - 1)));
    `step` keeps `largest` for the first half of the classes and largest / imbalance for
    the rest. Truncates toward zero, as the published subsets do.

    Source: Cao et al., "Learning Imbalanced Datasets with Label-Distribution-Aware Margin
    Loss", NeurIPS 2019 (arXiv:1906.07413), the CIFAR-LT construction of its code.
    """
    smallest_share = 1.0 / imbalance
    if kind == "exp":
        last = max(classes - 1, 1)
        return [int(largest * smallest_share ** (c / last)) for c in range(classes)]
    if kind == "step":
        half = classes // 2
        return [largest] * half + [int(largest * smallest_share)] * (classes - half)
    raise ValueError(f"unknown kind of imbalance {kind!r}")


def choose_rows(labels: NDArray[np.int64], counts: Sequence[int], seed: int) -> NDArray[np.int64]:
    """Rows of a set with `labels` [N], `counts` [C] of each class, class after class.

    Draws from NumPy's legacy generator in class order, so `seed` 0 gives exactly the
    CIFAR-LT subsets of Cao et al. (arXiv:1906.07413).
    """
    generator = np.random.RandomState(seed)
    by_class = np.argsort(labels, kind="stable")
    ends = np.searchsorted(labels[by_class], np.arange(len(counts) + 1))
    chosen = []
    for label, count in enumerate(counts):
        rows = by_class[ends[label] : ends[label + 1]]
        generator.shuffle(rows)
        chosen.append(rows[:count])
    return np.concatenate(chosen)


def imbalance_factor(class_counts: Sequence[int]) -> float:
    """Images of the largest class for one of the smallest."""
    return max(class_counts) / max(min(class_counts), 1)


def gini(class_counts: Sequence[int]) -> float:
    """Gini coefficient of the class counts: 0 when all are equal, towards 1 when one holds all."""
    ordered = np.sort(np.asarray(class_counts, dtype=np.float64))
    ranks = np.arange(1, len(ordered) + 1)
    return float((2 * ranks - len(ordered) - 1) @ ordered / (len(ordered) * ordered.sum()))
