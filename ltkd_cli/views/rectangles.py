"""Rectangles inside images, one for each image."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .draws import send

Numbers = NDArray[np.float64]


def sides(
    uniforms: Numbers, pixels: Numbers, areas: tuple[float, float], aspects: tuple[float, float]
) -> tuple[Numbers, Numbers]:
    """Sides a and b of random rectangles in whole pixels: [T, B] each.

    a * b is between the two `areas`, as shares of `pixels` [B]; a / b is between the two
    `aspects`, uniform in its logarithm. `uniforms` is [2 T, B].
    """
    area, aspect = np.split(uniforms, 2)
    area = pixels * (areas[0] + area * (areas[1] - areas[0]))
    low, high = np.log(aspects)
    ratio = np.exp(low + aspect * (high - low))
    return np.rint(np.sqrt(area * ratio)), np.rint(np.sqrt(area / ratio))


def first_fit(fits: NDArray[np.bool_], *values: Numbers) -> tuple[NDArray[np.bool_], list[Numbers]]:
    """Which of B images have a fit among T tries, and the values [T, B] of its first one."""
    first = fits.argmax(0)[None]
    found: NDArray[np.bool_] = np.logical_or.reduce(fits)
    return found, [np.take_along_axis(value, first, 0)[0] for value in values]


def inside(boxes: Tensor, size: tuple[int, int], device: torch.device) -> Tensor:
    """Which pixels lie in boxes (top, left, bottom, right), int64 [B, 4] on the host.

    bool [B, 1, H, W] on the device. A box may reach over the border.
    """
    top, left, bottom, right = send(boxes, device)[:, :, None].unbind(1)
    row, column = (torch.arange(side, device=device) for side in size)
    rows, columns = (row >= top) & (row < bottom), (column >= left) & (column < right)
    return rows[:, None, :, None] & columns[:, None, None, :]


def blacken(images: Tensor, boxes: Tensor) -> Tensor:
    """Images uint8 [B, 3, H, W] that are black inside their boxes."""
    return images * ~inside(boxes, (images.shape[2], images.shape[3]), images.device)
