"""Shear, shift and rotation with one parameter for each image; nearest pixel, black outside.

Coordinates are computed in float32 as torchvision computes them, so that both take the same
pixel where a source lies half-way between two.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .draws import send

Numbers = NDArray[np.float64]


def shear_x(amounts: Tensor, size: tuple[int, int]) -> Tensor:
    """Sources of a shear along the width about the upper left corner; pixels for each pixel."""
    slope = _host(amounts)
    height, _ = size
    one, zero = np.ones_like(slope), np.zeros_like(slope)
    return _matrices(one, slope, slope * height / 2, zero, one, zero)


def shear_y(amounts: Tensor, size: tuple[int, int]) -> Tensor:
    """Sources of a shear along the height about the upper left corner; pixels for each pixel."""
    slope = _host(amounts)
    _, width = size
    one, zero = np.ones_like(slope), np.zeros_like(slope)
    return _matrices(one, zero, zero, slope, one, slope * width / 2)


def translate_x(amounts: Tensor, size: tuple[int, int]) -> Tensor:
    """Sources of a shift to the right by whole pixels."""
    pixels = np.trunc(_host(amounts))
    one, zero = np.ones_like(pixels), np.zeros_like(pixels)
    return _matrices(one, zero, -pixels, zero, one, zero)


def translate_y(amounts: Tensor, size: tuple[int, int]) -> Tensor:
    """Sources of a shift downwards by whole pixels."""
    pixels = np.trunc(_host(amounts))
    one, zero = np.ones_like(pixels), np.zeros_like(pixels)
    return _matrices(one, zero, zero, zero, one, -pixels)


def rotate(amounts: Tensor, size: tuple[int, int]) -> Tensor:
    """Sources of a counter-clockwise rotation about the centre, in degrees."""
    angle = np.radians(-(_host(amounts) % 360))
    cos, sin, zero = np.cos(angle), np.sin(angle), np.zeros_like(angle)
    return _matrices(cos, sin, zero, -sin, cos, zero)


def warp(images: Tensor, sources: Tensor) -> Tensor:
    """The pixels that lie at `sources`, float32 [B, 2, 3] on the host: uint8 [B, 3, H, W].

    A source is an affine function of a pixel's place; both are in pixels from the centre.
    """
    height, width = images.shape[-2:]
    half = torch.tensor([[width], [height]]) * 0.5
    x_of, y_of = send(sources / half, images.device).unbind(1)
    x = torch.arange(width, device=images.device) - (width - 1) / 2
    y = (torch.arange(height, device=images.device) - (height - 1) / 2)[:, None]
    column, row = (
        (of[:, None, :1] * x + of[:, None, 1:2] * y + of[:, None, 2:] + 1) * (side / 2) - 0.5
        for of, side in ((x_of, width), (y_of, height))
    )
    return _nearest(images, row.round_(), column.round_())


def _nearest(images: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Pixels at whole rows and columns, float32 [B, H, W]; black outside of the image."""
    height, width = images.shape[-2:]
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    row, column = row.clamp_(0, height - 1), column.clamp_(0, width - 1)
    place = row.long().mul_(width).add_(column.long()).flatten(1)
    taken = images.flatten(2).gather(2, place[:, None].expand(-1, 3, -1))
    return taken.view_as(images) * inside[:, None]


def _matrices(*entries: Numbers) -> Tensor:
    """Six entries [B] as float32 [B, 2, 3]."""
    return torch.from_numpy(np.stack(entries, 1)).float().view(-1, 2, 3)


def _host(values: Tensor) -> Numbers:
    return np.ascontiguousarray(values.numpy(), dtype=np.float64)
