"""Mean and spread of each colour channel, for the first layer of a network."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from .imageset import Images

STATISTICS_IMAGES = 2_000
"""Images looked at; more do not change the fourth digit of a mean in a way that matters."""

SMALLEST_STD = 0.01
"""Floor of a standard deviation: images of one colour are not to be divided by zero."""

Statistics = tuple[tuple[float, float, float], tuple[float, float, float]]
"""Mean and standard deviation of each channel, in [0, 1]."""


def channel_statistics(images: Images) -> Statistics:
    """Mean and standard deviation of each channel in [0, 1], rounded to 4 digits.

    Counted over evenly spaced images, in whole numbers, so the same on every machine.
    """
    counts = _value_counts(images)
    values = np.arange(256) / 255
    mean = counts @ values / counts.sum(axis=1)
    variance = counts @ values**2 / counts.sum(axis=1) - mean**2
    std = np.sqrt(np.maximum(variance, SMALLEST_STD**2))
    return _rounded(mean), _rounded(std)


def _value_counts(images: Images) -> NDArray[np.int64]:
    """How often each channel has each of the 256 values, [3, 256]."""
    chosen = np.linspace(0, len(images) - 1, min(len(images), STATISTICS_IMAGES)).astype(np.int64)
    counts = np.zeros((3, 256), dtype=np.int64)
    for pixels in images.each(torch.from_numpy(chosen)):
        counts += [np.bincount(channel.ravel(), minlength=256) for channel in pixels]
    return counts


def _rounded(values: NDArray[np.float64]) -> tuple[float, float, float]:
    red, green, blue = (round(float(value), 4) for value in values)
    return red, green, blue
