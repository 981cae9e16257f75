"""CutMix: a box of another image, pasted at the same place."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..contract import MixStep
from ..draws import Draws, choose


@dataclass(frozen=True)
class Cutmix(MixStep):
    """Pastes a box of another image of the set into a SHARE of the views, all unless given.

    The box covers 1 - s of the area and has the image's aspect, its centre is any pixel, and
    what reaches over the border is cut off; s is drawn from Beta(ALPHA, ALPHA), and ALPHA is 1
    unless it is given.

    Source: Yun et al., arXiv:1905.04899; torchvision's CutMix.
    """

    version = 1
    usage = "cutmix[:ALPHA[:SHARE]]"

    def boxes(self, shares: Tensor, size: tuple[int, int], draws: Draws) -> Tensor:
        """Top, left, bottom and right of the boxes: int64 [B, 4]."""
        sides = torch.tensor(size)
        centre = choose(draws.uniforms(2), sides[:, None]).T
        half = (0.5 * (1 - shares).sqrt()[:, None] * sides).long()
        low, high = (centre - half).clamp(min=0), (centre + half).minimum(sides)
        return torch.cat([low, high], 1)
