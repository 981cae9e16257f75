"""AutoAugment: one of 25 learnt pairs of operations for each image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from ..contract import BadArgument, PixelStep
from ..draws import Draws, choose
from ..operations import CODES, apply_operations, magnitude_table, with_signs

BINS = 10
"""Magnitudes of each operation."""

# Each line: two pairs of operation, probability in tenths and place of the magnitude.
_LEARNT = {
    "cifar10": """
        Invert 1 - Contrast 2 6
        Rotate 7 2 TranslateX 3 9
        Sharpness 8 1 Sharpness 9 3
        ShearY 5 8 TranslateY 7 9
        AutoContrast 5 - Equalize 9 -
        ShearY 2 7 Posterize 3 7
        Color 4 3 Brightness 6 7
        Sharpness 3 9 Brightness 7 9
        Equalize 6 - Equalize 5 -
        Contrast 6 7 Sharpness 6 5
        Color 7 7 TranslateX 5 8
        Equalize 3 - AutoContrast 4 -
        TranslateY 4 3 Sharpness 2 6
        Brightness 9 6 Color 2 8
        Solarize 5 2 Invert 0 -
        Equalize 2 - AutoContrast 6 -
        Equalize 2 - Equalize 6 -
        Color 9 9 Equalize 6 -
        AutoContrast 8 - Solarize 2 8
        Brightness 1 3 Color 7 0
        Solarize 4 5 AutoContrast 9 -
        TranslateY 9 9 TranslateY 7 9
        AutoContrast 9 - Solarize 8 3
        Equalize 8 - Invert 1 -
        TranslateY 7 9 AutoContrast 9 -
    """,
    "imagenet": """
        Posterize 4 8 Rotate 6 9
        Solarize 6 5 AutoContrast 6 -
        Equalize 8 - Equalize 6 -
        Posterize 6 7 Posterize 6 6
        Equalize 4 - Solarize 2 4
        Equalize 4 - Rotate 8 8
        Solarize 6 3 Equalize 6 -
        Posterize 8 5 Equalize 10 -
        Rotate 2 3 Solarize 6 8
        Equalize 6 - Posterize 4 6
        Rotate 8 8 Color 4 0
        Rotate 4 9 Equalize 6 -
        Equalize 0 - Equalize 8 -
        Invert 6 - Equalize 10 -
        Color 6 4 Contrast 10 8
        Rotate 8 8 Color 10 2
        Color 8 8 Solarize 8 7
        Sharpness 4 7 Invert 6 -
        ShearX 6 5 Equalize 10 -
        Color 4 0 Equalize 6 -
        Equalize 4 - Solarize 2 4
        Solarize 6 5 AutoContrast 6 -
        Invert 6 - Equalize 10 -
        Color 6 4 Contrast 10 8
        Equalize 8 - Equalize 6 -
    """,
    "svhn": """
        ShearX 9 4 Invert 2 -
        ShearY 9 8 Invert 7 -
        Equalize 6 - Solarize 6 6
        Invert 9 - Equalize 6 -
        Equalize 6 - Rotate 9 3
        ShearX 9 4 AutoContrast 8 -
        ShearY 9 8 Invert 4 -
        ShearY 9 5 Solarize 2 6
        Invert 9 - AutoContrast 8 -
        Equalize 6 - Rotate 9 3
        ShearX 9 4 Solarize 3 3
        ShearY 8 8 Invert 7 -
        Equalize 9 - TranslateY 6 6
        Invert 9 - Equalize 6 -
        Contrast 3 3 Rotate 8 4
        Invert 8 - TranslateY 0 2
        ShearY 7 6 Solarize 4 8
        Invert 6 - Rotate 8 4
        ShearY 3 7 TranslateX 9 3
        ShearX 1 6 Invert 6 -
        Solarize 7 2 TranslateY 6 7
        ShearY 8 4 Invert 8 -
        ShearX 7 9 TranslateY 8 3
        ShearY 8 5 AutoContrast 7 -
        ShearX 7 2 Invert 1 -
    """,
}

NAMES = tuple(_LEARNT)
"""Data sets whose pairs were published."""


@dataclass(frozen=True)
class AutoAugment(PixelStep):
    """Applies one of 25 pairs of operations, each with its own probability and magnitude.

    The pairs were learnt on `cifar10`, which is taken unless another is given, `imagenet` or
    `svhn`. Nearest pixel, black where the image ends.

    Source: Cubuk et al., arXiv:1805.09501; tables and magnitudes of torchvision's AutoAugment.
    """

    version = 1
    usage = "autoaugment[:cifar10|imagenet|svhn]"

    learnt_on: str = "cifar10"

    def __post_init__(self) -> None:
        if self.learnt_on not in NAMES:
            raise BadArgument(f"its tables are {', '.join(NAMES)}, not {self.learnt_on!r}")

    def operations(self, draws: Draws, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Codes int64 [2, B] and magnitudes float64 [2, B] of the two operations, in order."""
        height, width = size
        shift = (150 / 331 * height, 150 / 331 * width)
        table = magnitude_table(BINS, 0.3, shift, 30, 0.9, 4)
        codes, probabilities, places = pairs(self.learnt_on)
        uniforms = draws.uniforms(5)
        pair = choose(uniforms[0], len(codes))
        codes = codes[pair].T
        codes = torch.where(uniforms[1:3] < probabilities[pair].T, codes, CODES["Identity"])
        return codes, with_signs(codes, table[codes, places[pair].T], uniforms[3:])

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        """uint8 [B, 3, H, W] after two operations."""
        codes, magnitudes = self.operations(draws, (images.shape[2], images.shape[3]))
        for code, magnitude in zip(codes, magnitudes, strict=True):
            images = apply_operations(images, code, magnitude)
        return images


@cache
def pairs(learnt_on: str) -> tuple[Tensor, Tensor, Tensor]:
    """Codes int64 [25, 2], probabilities float64 [25, 2] and places of magnitudes int64 [25, 2]."""
    words = _LEARNT[learnt_on].split()
    codes = torch.tensor([CODES[name] for name in words[::3]])
    probabilities = torch.tensor([int(tenths) / 10 for tenths in words[1::3]], dtype=torch.float64)
    places = torch.tensor([0 if place == "-" else int(place) for place in words[2::3]])
    return codes.view(-1, 2), probabilities.view(-1, 2), places.view(-1, 2)
