"""TrivialAugment: one operation of any magnitude for each image."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..contract import PixelStep
from ..draws import Draws, choose
from ..operations import apply_operations, magnitude_table, with_signs
from .randaugment import BINS, CHOICES


@dataclass(frozen=True)
class TrivialAugment(PixelStep):
    """Applies one random operation of a random magnitude, from a wide range.

    Source: Müller and Hutter, arXiv:2103.10158; torchvision's TrivialAugmentWide.
    """

    version = 1
    usage = "trivialaugment"

    def operations(self, draws: Draws) -> tuple[Tensor, Tensor]:
        """Code int64 [B] and magnitude float64 [B] of the operation."""
        table = magnitude_table(BINS, 0.99, (32.0, 32.0), 135, 0.99, 6)
        chosen, place, sign = draws.uniforms(3)
        codes = CHOICES[choose(chosen, len(CHOICES))]
        return codes, with_signs(codes, table[codes, choose(place, BINS)], sign)

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        """uint8 [B, 3, H, W] after one operation."""
        return apply_operations(images, *self.operations(draws))
