"""RandomResizedCrop: cut out a part of random area and aspect, and resize it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..contract import CropStep, within
from ..draws import Draws
from ..rectangles import Numbers, first_fit, sides

ASPECTS = (3 / 4, 4 / 3)
"""Width by height that a part has at least and at most."""

TRIES = 10
"""Parts that are drawn for an image until one fits into it; then the centre is taken."""


@dataclass(frozen=True)
class RandomResizedCrop(CropStep):
    """Cuts out a share of at least AREA of the image, 0.08 unless it is given, and resizes it.

    The aspect is between 3/4 and 4/3, uniform in its logarithm.

    Source: torchvision's RandomResizedCrop; Szegedy et al., arXiv:1409.4842.
    """

    version = 1
    usage = "rrc[:AREA]"

    area: float = 0.08

    def __post_init__(self) -> None:
        within("smallest area", self.area, 0.0001, 1)

    def boxes(self, heights: Tensor, widths: Tensor, draws: Draws) -> Tensor:
        """Top, left, height and width to cut out: int64 [B, 4]."""
        uniforms = draws.uniforms(2 * TRIES + 2).numpy()
        high, wide = heights.double().numpy(), widths.double().numpy()
        width, height = sides(uniforms[2:], high * wide, (self.area, 1), ASPECTS)
        fits = (width > 0) & (width <= wide) & (height > 0) & (height <= high)
        found, (height, width) = first_fit(fits, height, width)
        top = np.floor(uniforms[0] * (high - height + 1))
        left = np.floor(uniforms[1] * (wide - width + 1))
        boxes = np.where(found, (top, left, height, width), _centre(high, wide))
        return torch.from_numpy(boxes.T.astype(np.int64))


def _centre(height: Numbers, width: Numbers) -> tuple[Numbers, Numbers, Numbers, Numbers]:
    """The largest part about the centre whose aspect is allowed."""
    part_height = np.minimum(height, np.rint(width / ASPECTS[0]))
    part_width = np.minimum(width, np.rint(height * ASPECTS[1]))
    top, left = (height - part_height) // 2, (width - part_width) // 2
    return top, left, part_height, part_width
