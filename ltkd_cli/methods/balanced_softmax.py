"""Balanced Softmax: cross-entropy on logits plus the log of the class counts."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from ..outputs import Outputs
from .contract import BOTH_LABELS, Batch, Method, Task
from .losses import cross_entropy, log_prior, share


class BalancedSoftmax(Method):
    """Cross-entropy of z + ln n, from logits z [B, C], labels [B] and class counts n [C].

    The prior enters in training only: the network's own logits, without it, are those of a
    balanced world. They must not be corrected for the prior a second time.

    Source: Ren et al., "Balanced Meta-Softmax for Long-Tailed Visual Recognition",
    NeurIPS 2020 (arXiv:2007.10740).
    """

    mixtures = BOTH_LABELS

    log_prior: Tensor

    def __init__(
        self,
        task: Task,
        *,
        label_smoothing: Annotated[float, "share of the label spread over all classes"] = 0.0,
    ) -> None:
        super().__init__(task)
        self.label_smoothing = share("label_smoothing", label_smoothing)
        self.register_buffer("log_prior", log_prior(task.class_counts), persistent=False)

    def forward(self, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        """`label`: the cross-entropy of the shifted logits, a scalar."""
        shifted = student["logits"] + self.log_prior
        smoothing = self.label_smoothing
        return {"label": cross_entropy(shifted, batch, smoothing)}
