"""Mirror one image in two, left to right."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..contract import PixelStep
from ..draws import Draws
from ..subbatch import change


@dataclass(frozen=True)
class Flip(PixelStep):
    """Mirrors one image in two.

    Source: torchvision's RandomHorizontalFlip.
    """

    version = 1
    usage = "flip"

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        """uint8 [B, 3, H, W], some of them mirrored."""
        mirrored = ((draws.legacy_bits() >> 40) & 1).bool()
        return change(images, mirrored, lambda chosen, _: chosen.flip(3))
