"""Shift the image over a black border."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..contract import PixelStep, within
from ..draws import Draws, send


@dataclass(frozen=True)
class Crop(PixelStep):
    """Shifts by up to N pixels both ways; N is an eighth of the side unless it is given.

    Source: torchvision's RandomCrop(size, padding=N), N = 4 of 32 pixels as the papers on CIFAR.
    """

    version = 1
    usage = "crop[:PIXELS]"

    pixels: int | None = None

    def __post_init__(self) -> None:
        if self.pixels is not None:
            within("number of pixels", self.pixels, 1, 4096)

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        """uint8 [B, 3, H, W] shifted."""
        pad_y, pad_x = (self.pixels or max(1, round(side / 8)) for side in images.shape[-2:])
        bits = draws.legacy_bits()
        return shift(images, bits % (2 * pad_y + 1), (bits >> 20) % (2 * pad_x + 1), pad_y, pad_x)


def shift(images: Tensor, top: Tensor, left: Tensor, pad_y: int, pad_x: int) -> Tensor:
    """Windows of padded images whose upper left corners are (top, left), int64 [B] on the host.

    A shift by the whole image or more leaves nothing of it, so no wider border is made.
    """
    height, width = images.shape[-2:]
    top = (top - pad_y).clamp(-height, height)
    left = (left - pad_x).clamp(-width, width)
    pad_y, pad_x = min(pad_y, height), min(pad_x, width)
    top, left = top + pad_y, left + pad_x
    padded = F.pad(images, (pad_x, pad_x, pad_y, pad_y))
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    device = images.device
    places = torch.arange(len(images), device=device)
    return windows[places, :, send(top, device), send(left, device)]
