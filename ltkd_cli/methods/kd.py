"""Knowledge distillation: labels, and the teacher's softened probabilities."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from ..outputs import Outputs
from .contract import BOTH_LABELS, Batch, Method, Task
from .losses import cross_entropy, divergence, not_negative, positive, standardise


class KnowledgeDistillation(Method):
    """a CE + b T^2 KL(softmax(zT/T) || softmax(zS/T)), from logits zS, zT [B, C].

    The mean is taken over samples. Defaults are those of mdistiller and RepDistiller for
    CIFAR-100; for ImageNet they use a 0.5, b 0.5 and T 1.

    Source: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015
    (arXiv:1503.02531); `standardise`: Sun et al., "Logit Standardization in Knowledge
    Distillation", CVPR 2024 (arXiv:2403.01427).
    """

    needs = frozenset({"logits"})
    mixtures = BOTH_LABELS

    def __init__(
        self,
        task: Task,
        *,
        label_weight: Annotated[float, "weight a of the cross-entropy with the labels"] = 0.1,
        distillation_weight: Annotated[float, "weight b of the teacher's term"] = 0.9,
        temperature: Annotated[float, "temperature T of both networks"] = 4.0,
        standardise: Annotated[
            bool,
            "logits with mean 0 and deviation 1 in the teacher's term; its authors set "
            "temperature 2, distillation_weight 9 and label_weight 0.1 with it",
        ] = False,
    ) -> None:
        super().__init__(task)
        self.label_weight = not_negative("label_weight", label_weight)
        self.distillation_weight = not_negative("distillation_weight", distillation_weight)
        self.temperature = positive("temperature", temperature)
        self.standardise = standardise

    def forward(self, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        """`label` and `distillation`, scalars."""
        label = cross_entropy(student["logits"], batch)
        distillation = self.temperature**2 * self._divergence(student, batch)
        return {
            "label": self.label_weight * label,
            "distillation": self.distillation_weight * distillation,
        }

    def _divergence(self, student: Outputs, batch: Batch) -> Tensor:
        logits = batch.teacher_logits, student["logits"]
        if self.standardise:
            logits = standardise(logits[0]), standardise(logits[1])
        return divergence(*logits, self.temperature)
