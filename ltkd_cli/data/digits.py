"""digits-lt: the handwritten digits that scikit-learn ships, made long-tailed."""

from __future__ import annotations

import gzip
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .arraydata import Labelled, data_of
from .decode import Pixels
from .imageset import Data, DataSpec
from .longtail import choose_rows, long_tail_rows

NAME = "digits-lt"

CLASSES = 10

IMBALANCE = 20.0
"""Default imbalance: 6 images of the rarest digit."""

SIZE = 16
"""Pixels of a side, twice those of the originals."""

TEST_PER_CLASS = 40

TEST_SEED = 1797
"""Chooses the test images, the same ones whatever the imbalance and its seed."""

DARKEST = 16
"""The original values run from 0 to this."""


def load_digits(spec: DataSpec) -> Data:
    """Handwritten digits with 40 test images of each class and a long tail of the others.

    Source: Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine
    Learning Repository, 1998; the 1,797 test images of 8 x 8 that scikit-learn includes.
    """
    imbalance = IMBALANCE if spec.imbalance is None else spec.imbalance
    size = spec.image_size or SIZE
    spec = replace(spec, imbalance=imbalance, image_size=size)
    everything = _read()
    test_rows = choose_rows(everything.labels, [TEST_PER_CLASS] * CLASSES, TEST_SEED)
    rest = everything.take(np.setdiff1d(np.arange(len(everything.labels)), test_rows))
    subset = rest.take(_training_rows(rest.labels, spec, imbalance))
    parts = {"train": subset, "test": everything.take(test_rows)}
    names = tuple(str(digit) for digit in range(CLASSES))
    # By counts, a single digit would be the head group, so `auto` goes by rank here.
    grouped = replace(spec, groups="rank" if spec.groups == "auto" else spec.groups)
    data = data_of(grouped, NAME, parts, names, views="crop")
    return replace(data, spec=spec)


def doubled(images: NDArray[np.int64]) -> NDArray[np.int64]:
    """Images [N, 2H, 2W] of images [N, H, W], bilinear and 16 times as bright.

    Whole numbers throughout: the weights of bilinear doubling are 9, 3, 3 and 1 of 16.
    """
    return _doubled_rows(_doubled_rows(images).swapaxes(1, 2)).swapaxes(1, 2)


def _read() -> Labelled:
    """All digits, from scikit-learn's file, because to import its reader takes a second."""
    (folder,) = find_spec("sklearn").submodule_search_locations  # type: ignore[union-attr, misc]
    with gzip.open(Path(folder, "datasets", "data", "digits.csv.gz"), "rt") as file:
        table = np.loadtxt(file, np.int64, delimiter=",")
    return Labelled(_grey(doubled(table[:, :-1].reshape(-1, 8, 8))), table[:, -1])


def _grey(images: NDArray[np.int64]) -> Pixels:
    """RGB images uint8 [N, H, W, 3] from brightness 0..256, rounded to the nearest value."""
    values = (images * 255 + 128) // (16 * DARKEST)
    return np.repeat(values.astype(np.uint8)[..., None], 3, axis=3)


def _training_rows(
    labels: NDArray[np.int64], spec: DataSpec, imbalance: float
) -> NDArray[np.int64]:
    largest = int(np.bincount(labels).min())
    kind, seed = spec.imbalance_type, spec.imbalance_seed
    return long_tail_rows(labels, CLASSES, largest, imbalance, kind, seed)


def _doubled_rows(images: NDArray[np.int64]) -> NDArray[np.int64]:
    """Twice the rows, 4 times as bright; the edge repeats itself."""
    above = np.concatenate([images[:, :1], images[:, :-1]], axis=1)
    below = np.concatenate([images[:, 1:], images[:, -1:]], axis=1)
    pairs = np.stack([3 * images + above, 3 * images + below], axis=2)
    return pairs.reshape(len(images), -1, images.shape[2])
