"""Take the colours away."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..colour import grey
from ..contract import PixelStep, within
from ..draws import Draws
from ..subbatch import change


@dataclass(frozen=True)
class Greyscale(PixelStep):
    """Makes a share of the images grey, one in ten unless it is given.

    Source: torchvision's RandomGrayscale.
    """

    version = 1
    usage = "greyscale[:PROBABILITY]"

    probability: float = 0.1

    def __post_init__(self) -> None:
        within("probability", self.probability, 0, 1)

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        """uint8 [B, 3, H, W], some of them grey."""
        chosen = draws.uniforms(1)[0] < self.probability
        return change(images, chosen, lambda coloured, _: greyscale(coloured))


def greyscale(images: Tensor) -> Tensor:
    """Images uint8 [B, 3, H, W] in three equal channels."""
    return grey(images).to(torch.uint8).expand(-1, 3, -1, -1)
