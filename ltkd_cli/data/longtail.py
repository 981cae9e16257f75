"""Which rows of a set form its long-tailed subset."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, UsageError
from ..splits import choose_rows, long_tail_counts

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
    _check(imbalance, kind, seed)
    counts = long_tail_counts(largest, classes, imbalance, kind)
    if 0 in counts:
        raise DataError(
            f"An imbalance of {imbalance:g} leaves class {counts.index(0)} without an image: "
            f"the largest class has {largest:,}.",
            f"--imbalance {max(largest // 2, 1)}",
        )
    return choose_rows(labels, counts, seed)


def _check(imbalance: float, kind: str, seed: int) -> None:
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
