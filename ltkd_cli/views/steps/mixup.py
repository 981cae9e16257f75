"""mixup: a weighted mean of two images."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..contract import MixStep
from ..draws import Draws


@dataclass(frozen=True)
class Mixup(MixStep):
    """Blends a SHARE of the views, all unless it is given, with another image of the set.

    An image's own share of the mixture is drawn from Beta(ALPHA, ALPHA); ALPHA is 1 unless it
    is given.

    Source: Zhang et al., arXiv:1710.09412.
    """

    version = 1
    usage = "mixup[:ALPHA[:SHARE]]"

    def boxes(self, shares: Tensor, size: tuple[int, int], draws: Draws) -> None:
        """None: the whole of both images is blended."""
