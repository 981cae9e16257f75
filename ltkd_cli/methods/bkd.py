"""BKD: distillation in which the teacher's probabilities are re-weighted towards rare classes."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from ..outputs import Outputs
from .contract import BOTH_LABELS, Batch, Method, Task
from .losses import (
    cross_entropy,
    deferred,
    effective_number_weights,
    not_negative,
    positive,
    relative_entropy,
    share,
)


class BalancedKnowledgeDistillation(Method):
    """CE + alpha T^2 KL(p || softmax(zS/T)), with p_c proportional to w_c softmax(zT/T)_c.

    zS, zT are logits [B, C]; w [C] are effective-number class weights. Every entry of the
    soft target is weighted by its own class and the target renormalised, so p is
    softmax(zT/T + ln w). The labels' cross-entropy is unweighted, the mean over samples.

    The authors' code applies w from the start on CIFAR-100-LT, the default here, and on
    CIFAR-10-LT only after 160 of 200 epochs (`from_progress` 0.8), with plain KD before.

    Source: Zhang et al., "Balanced Knowledge Distillation for Long-tailed Learning", 2021
    (arXiv:2104.10510).
    """

    needs = frozenset({"logits"})
    mixtures = BOTH_LABELS

    class_weights: Tensor

    def __init__(
        self,
        task: Task,
        *,
        weight: Annotated[float, "weight alpha of the teacher's term"] = 1.0,
        temperature: Annotated[float, "temperature T of both networks"] = 2.0,
        beta: Annotated[
            float, "beta of the effective number: 0 is plain KD, near 1 inverse frequency"
        ] = 0.9999,
        from_progress: Annotated[
            float,
            "share of the training from which class weights apply, plain KD before; the "
            "authors use 0 on CIFAR-100-LT and 0.8 on CIFAR-10-LT",
        ] = 0.0,
    ) -> None:
        super().__init__(task)
        self.weight = not_negative("weight", weight)
        self.temperature = positive("temperature", temperature)
        self.from_progress = share("from_progress", from_progress)
        weights = effective_number_weights(task.class_counts, beta)
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        """`label` and `distillation`, scalars."""
        weights = deferred(self.class_weights, batch.progress, self.from_progress)
        target = (batch.teacher_logits / self.temperature + weights.log()).log_softmax(1)
        predicted = (student["logits"] / self.temperature).log_softmax(1)
        distance = relative_entropy(target, predicted).mean()
        return {
            "label": cross_entropy(student["logits"], batch),
            "distillation": self.weight * self.temperature**2 * distance,
        }
