"""Logit adjustment in the loss: cross-entropy on logits plus tau times the log class prior."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from ..outputs import Outputs
from .contract import BOTH_LABELS, Batch, Method, Task
from .losses import cross_entropy, log_prior, not_negative


class LogitAdjustment(Method):
    """Cross-entropy of z + tau ln pi, from logits z [B, C] and class shares pi [C].

    The mean is taken over samples. At tau 1 this is Balanced Softmax, at tau 0 plain
    cross-entropy. The prior enters in training only: the network's own logits need no
    correction afterwards.

    Source: Menon et al., "Long-tail Learning via Logit Adjustment", ICLR 2021
    (arXiv:2007.07314).
    """

    mixtures = BOTH_LABELS

    log_prior: Tensor

    def __init__(
        self,
        task: Task,
        *,
        strength: Annotated[float, "tau, the power to which the prior is raised"] = 1.0,
    ) -> None:
        super().__init__(task)
        self.strength = not_negative("strength", strength)
        self.register_buffer("log_prior", log_prior(task.class_counts), persistent=False)

    def forward(self, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        """`label`: the cross-entropy of the shifted logits, a scalar."""
        shifted = student["logits"] + self.strength * self.log_prior
        return {"label": cross_entropy(shifted, batch)}
