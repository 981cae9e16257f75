"""RandomErasing: a black rectangle of random area and aspect in some of the images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..contract import PixelStep, within
from ..draws import Draws
from ..rectangles import blacken, first_fit, sides

AREAS = (0.02, 0.33)
"""Share of the image that a rectangle covers at least and at most."""

ASPECTS = (0.3, 3.3)
"""Height by width of a rectangle at least and at most."""

TRIES = 10
"""Rectangles that are drawn for an image until one fits into it; then there is none."""


@dataclass(frozen=True)
class RandomErasing(PixelStep):
    """Blackens a rectangle in a share of the images, one in two unless it is given.

    It covers 2 % to 33 % of the image; its aspect is between 0.3 and 3.3, uniform in its
    logarithm.

    Source: Zhong et al., arXiv:1708.04896; torchvision's RandomErasing.
    """

    version = 1
    usage = "erasing[:PROBABILITY]"

    probability: float = 0.5

    def __post_init__(self) -> None:
        within("probability", self.probability, 0, 1)

    def boxes(self, draws: Draws, size: tuple[int, int]) -> Tensor:
        """Top, left, bottom, right of rectangles: int64 [B, 4]; zeros where there is none."""
        uniforms = draws.uniforms(2 * TRIES + 3).numpy()
        high, wide = size
        pixels = np.full(uniforms.shape[1], float(high * wide))
        height, width = sides(uniforms[3:], pixels, AREAS, ASPECTS)
        found, (height, width) = first_fit((height < high) & (width < wide), height, width)
        top = np.floor(uniforms[1] * (high - height + 1))
        left = np.floor(uniforms[2] * (wide - width + 1))
        drawn = found & (uniforms[0] < self.probability)
        boxes = np.where(drawn, (top, left, top + height, left + width), 0)
        return torch.from_numpy(boxes.T.astype(np.int64))

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        """uint8 [B, 3, H, W], some of them with a black rectangle."""
        return blacken(images, self.boxes(draws, (images.shape[2], images.shape[3])))
