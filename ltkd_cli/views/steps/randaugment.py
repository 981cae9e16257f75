"""RandAugment: a few operations for each image, all of one magnitude."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..contract import PixelStep, within
from ..draws import Draws, choose
from ..operations import CODES, OPERATIONS, apply_operations, magnitude_table, with_signs

BINS = 31
"""Magnitudes of each operation."""

CHOICES = torch.tensor([CODES[name] for name in OPERATIONS if name != "Invert"])
"""Codes of the operations that are chosen from."""


@dataclass(frozen=True)
class RandAugment(PixelStep):
    """Applies N random operations of magnitude M, from 0 to 30; 2 and 9 unless they are given.

    With a PROBABILITY, each of them is left out otherwise. timm has 0.5 and counts magnitudes to
    10; its operations and their scales are others (docs/views.md).

    Source: Cubuk et al., arXiv:1909.13719; operations and magnitudes of torchvision's RandAugment.
    """

    version = 1
    usage = "randaugment[:N:M[:PROBABILITY]]"

    count: int = 2
    magnitude: int = 9
    probability: float = 1.0

    def __post_init__(self) -> None:
        within("number of operations", self.count, 1, 14)
        within("magnitude", self.magnitude, 0, BINS - 1)
        within("probability", self.probability, 0, 1)

    def operations(self, draws: Draws, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Codes int64 [N, B] and magnitudes float64 [N, B] of the operations, in order."""
        height, width = size
        shift = (150 / 331 * height, 150 / 331 * width)
        table = magnitude_table(BINS, 0.3, shift, 30, 0.9, 4)
        chosen, signs, skipped = draws.uniforms(3 * self.count).chunk(3)
        codes = CHOICES[choose(chosen, len(CHOICES))]
        codes = torch.where(skipped < self.probability, codes, CODES["Identity"])
        return codes, with_signs(codes, table[codes, self.magnitude], signs)

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        """uint8 [B, 3, H, W] after N operations."""
        codes, magnitudes = self.operations(draws, (images.shape[2], images.shape[3]))
        for code, magnitude in zip(codes, magnitudes, strict=True):
            images = apply_operations(images, code, magnitude)
        return images
