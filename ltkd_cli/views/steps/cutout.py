"""Cutout: a black square somewhere in the image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..contract import PixelStep, within
from ..draws import Draws, choose
from ..rectangles import blacken


@dataclass(frozen=True)
class Cutout(PixelStep):
    """Blackens a square of PIXELS along a side, whose centre is any pixel of the image.

    The square may reach over the border. An odd side loses a pixel, as in the source.

    Source: DeVries and Taylor, arXiv:1708.04552, and their code.
    """

    version = 1
    usage = "cutout:PIXELS"

    pixels: int

    def __post_init__(self) -> None:
        within("number of pixels", self.pixels, 2, 8192)

    def boxes(self, draws: Draws, size: tuple[int, int]) -> Tensor:
        """Top, left, bottom and right of the squares: int64 [B, 4]."""
        centre = choose(draws.uniforms(2), torch.tensor(size)[:, None]).T
        half = self.pixels // 2
        return torch.cat([centre - half, centre + half], 1)

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        """uint8 [B, 3, H, W] with a black square."""
        return blacken(images, self.boxes(draws, (images.shape[2], images.shape[3])))
