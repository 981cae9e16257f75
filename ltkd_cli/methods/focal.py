"""Focal loss: cross-entropy that counts samples less the better they are predicted."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from ..outputs import Outputs
from .contract import BOTH_LABELS, Batch, Method, Task
from .losses import label_mean, not_negative


class Focal(Method):
    """Mean over samples of (1 - p_y)^gamma (-ln p_y), p = softmax of the logits [B, C].

    This is the softmax form, as in the LDAM-DRW code. The original, the class-balanced loss
    and BagofTricks-LT use one sigmoid a class instead, which gives other numbers. gamma is
    the source's 2; the LDAM-DRW script trains with 1.

    Source: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017
    (arXiv:1708.02002).
    """

    mixtures = BOTH_LABELS

    def __init__(
        self,
        task: Task,
        *,
        gamma: Annotated[
            float,
            "gamma, how much less well predicted samples count: 0 is plain, 2 the source's, 1 that "
            "of the LDAM-DRW script",
        ] = 2.0,
    ) -> None:
        super().__init__(task)
        self.gamma = not_negative("gamma", gamma)

    def forward(self, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        """`label`: the focal loss, a scalar."""
        logits = student["logits"]
        return {"label": label_mean(lambda labels: self._losses(logits, labels), batch)}

    def _losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of each image [B], from logits [B, C] and labels [B]."""
        surprise = F.cross_entropy(logits, labels, reduction="none")
        doubt = -torch.expm1(-surprise)
        # A power below 1 has no gradient at a doubt of exactly 0.
        doubt = doubt.clamp(min=torch.finfo(doubt.dtype).tiny)
        return doubt**self.gamma * surprise
