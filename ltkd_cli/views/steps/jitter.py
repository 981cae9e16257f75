"""ColorJitter: other brightness, contrast, saturation and hue, in a random order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

import torch
from torch import Tensor

from ..colour import adjust_brightness, adjust_contrast, adjust_hue, adjust_saturation
from ..contract import PixelStep, typed, within
from ..draws import Draws
from ..subbatch import change

_ADJUSTMENTS = (adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)
HUE = 3
"""Place of the hue among the four."""


@dataclass(frozen=True)
class Jitter(PixelStep):
    """Brightness, contrast and saturation times 1 - S to 1 + S; the hue moves by up to HUE.

    One number stands for the first three and leaves the hue alone. An amount of 0 leaves its
    property alone.

    Source: torchvision's ColorJitter.
    """

    version = 1
    usage = "jitter:S or jitter:BRIGHTNESS:CONTRAST:SATURATION:HUE"

    brightness: float
    contrast: float
    saturation: float
    hue: float

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            within(name, getattr(self, name), 0, 100)
        within("hue", self.hue, 0, 0.5)

    @classmethod
    def read(cls, words: Sequence[str]) -> Self:
        """One argument for brightness, contrast and saturation, or four."""
        return super().read([words[0]] * 3 + ["0"] if len(words) == 1 else words)

    def words(self) -> Sequence[str]:
        """One argument where it says everything, else four."""
        if self.brightness == self.contrast == self.saturation and not self.hue:
            return [typed(self.brightness)]
        return super().words()

    def amounts(self, draws: Draws) -> tuple[Tensor, Tensor]:
        """Factors of the first three and the hue's shift, and the order of the four.

        float64 [4, B], and int64 [4, B]: `order[0]` says which comes first.
        """
        uniforms = draws.uniforms(8)
        strengths = torch.tensor([self.brightness, self.contrast, self.saturation, self.hue])
        low = (1 - strengths.double()).clamp(min=0)
        high = 1 + strengths.double()
        low[HUE], high[HUE] = -self.hue, self.hue
        amounts = low[:, None] + uniforms[:4] * (high - low)[:, None]
        return amounts, uniforms[4:].argsort(stable=True, dim=0)

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        """uint8 [B, 3, H, W] with other colours."""
        return jitter(images, *self.amounts(draws), self.changing())

    def changing(self) -> list[int]:
        """Which of the four have an amount other than 0."""
        strengths = (self.brightness, self.contrast, self.saturation, self.hue)
        return [number for number, strength in enumerate(strengths) if strength]


def jitter(images: Tensor, amounts: Tensor, order: Tensor, changing: Sequence[int]) -> Tensor:
    """Images whose colours change by `amounts`, float64 [4, B], in their own order [4, B]."""
    for turn in order:
        for number in changing:
            adjust = partial(_adjust, number, amounts[number])
            images = change(images, turn == number, adjust)
    return images


def _adjust(number: int, amounts: Tensor, images: Tensor, places: Tensor) -> Tensor:
    """One of the four, by the amounts at `places`."""
    return _ADJUSTMENTS[number](images, amounts[places])
