"""DKD: the teacher's probabilities of the label and of all other classes, weighted apart."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from ..outputs import Outputs
from .contract import Batch, Method, Task
from .losses import (
    cross_entropy,
    label_means,
    not_negative,
    positive,
    relative_entropy,
    share,
    standardise,
)

FIRST_STEP = 1 / 20
"""Strength at the start of the warm-up: the authors' first of 20 epochs."""


class DecoupledDistillation(Method):
    """CE + m T^2 (alpha KL(bT || bS) + beta KL(uT || uS)), from logits zS, zT [B, C].

    b [B, 2] is (p_y, 1 - p_y) at temperature T, u [B, C-1] the softmax over the classes that
    are not the label; KL is the mean over samples. With beta = 1 - p_y of the teacher,
    sample by sample, and alpha 1 this would be plain KD. With two classes the second term
    is 0. A mixture is split at either label, and the two splits are weighted by the mixing
    coefficient, so that with the same beta it would be plain KD, too.

    The warm-up m rises from 1/20 to 1 over the first `warmup` share of the training. The
    authors' m is min(epoch / 20, 1), counted from 1, in 240 epochs; this one meets it where
    each epoch begins and rises evenly in between. beta is 8 by default, 6 or 2 for some of
    their CIFAR-100 pairs. For ImageNet they use T 1, beta 0.5 and a warm-up of one epoch,
    which by their count is full weight from the start: `warmup` 0.

    Source: Zhao et al., "Decoupled Knowledge Distillation", CVPR 2022 (arXiv:2203.08679);
    `standardise`: Sun et al., "Logit Standardization in Knowledge Distillation", CVPR 2024
    (arXiv:2403.01427).
    """

    needs = frozenset({"logits"})
    mixtures = "split at both labels, weighted"

    def __init__(
        self,
        task: Task,
        *,
        target_weight: Annotated[float, "weight alpha of the label's probability"] = 1.0,
        others_weight: Annotated[float, "weight beta of the other classes' probabilities"] = 8.0,
        temperature: Annotated[float, "temperature T of both networks"] = 4.0,
        warmup: Annotated[
            float,
            "share of the training in which the teacher's terms grow to full weight; 0 for full "
            "weight from the start, the authors' warm-up of 1 epoch",
        ] = 20 / 240,
        standardise: Annotated[
            bool,
            "logits with mean 0 and deviation 1 in the teacher's terms; its authors set "
            "temperature 2, target_weight 9 and others_weight 72 with it",
        ] = False,
    ) -> None:
        super().__init__(task)
        self.target_weight = not_negative("target_weight", target_weight)
        self.others_weight = not_negative("others_weight", others_weight)
        self.temperature = positive("temperature", temperature)
        self.warmup = share("warmup", warmup)
        self.standardise = standardise

    def forward(self, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        """`label`, `target-class` and `other-classes`, scalars."""
        taught, predicted = self._soft(batch.teacher_logits), self._soft(student["logits"])
        target, others = label_means(lambda labels: divergences(taught, predicted, labels), batch)
        strength = self.temperature**2 * self._warmup(batch.progress).to(target.dtype)
        return {
            "label": cross_entropy(student["logits"], batch),
            "target-class": strength * self.target_weight * target,
            "other-classes": strength * self.others_weight * others,
        }

    def _soft(self, logits: Tensor) -> Tensor:
        return (standardise(logits) if self.standardise else logits) / self.temperature

    def _warmup(self, progress: Tensor) -> Tensor:
        if self.warmup == 0:
            return torch.ones_like(progress)
        return (progress / self.warmup + FIRST_STEP).clamp(max=1)


def divergences(
    teacher_logits: Tensor, student_logits: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """KL(bT || bS) and KL(uT || uS) of every sample: [B, C], [B, C], [B] -> [B], [B]."""
    teacher, student = decouple(teacher_logits, labels), decouple(student_logits, labels)
    label, others = (relative_entropy(t, s) for t, s in zip(teacher, student, strict=True))
    return label, others


def decouple(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Log probabilities of label against rest [B, 2], and within the rest [B, C-1]."""
    columns = torch.arange(logits.shape[1] - 1, device=logits.device)
    labels = labels[:, None]
    others = logits.gather(1, columns + (columns >= labels))
    against = torch.cat([logits.gather(1, labels), others.logsumexp(1, keepdim=True)], 1)
    return against.log_softmax(1), others.log_softmax(1)
