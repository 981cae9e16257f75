"""DiVE: distils a balanced teacher, whose soft outputs act as examples of rare classes."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from ..outputs import Outputs
from .contract import BOTH_LABELS, Batch, Method, Task
from .losses import cross_entropy, log_prior, positive, relative_entropy, share


class DistillingVirtualExamples(Method):
    """(1 - alpha) BSCE + alpha tau^2 KL(t || softmax(zS/tau)), from logits zS, zT [B, C].

    BSCE is the cross-entropy of zS + ln n (Balanced Softmax). t is softmax(zT/tau); power
    normalisation takes its square root and renormalises, which is softmax(zT/(2 tau)). The
    prior n [C] enters the labels' term only, and the factor stays the student's tau^2. The
    teacher is to be trained with Balanced Softmax. The mean is taken over samples.

    Source: He et al., "Distilling Virtual Examples for Long-tailed Recognition", ICCV 2021
    (arXiv:2103.15042).
    """

    needs = frozenset({"logits"})
    teacher = "balanced-softmax"
    mixtures = BOTH_LABELS

    log_prior: Tensor

    def __init__(
        self,
        task: Task,
        *,
        weight: Annotated[float, "weight alpha of the teacher's term; the labels get the rest"] = (
            0.5
        ),
        temperature: Annotated[
            float, "temperature tau: 3 in the paper for CIFAR-100-LT, 2 in BagofTricks-LT"
        ] = 3.0,
        power_normalisation: Annotated[
            bool, "flatten the teacher's probabilities by a square root (power p 0.5)"
        ] = True,
    ) -> None:
        super().__init__(task)
        self.weight = share("weight", weight)
        self.temperature = positive("temperature", temperature)
        self.teacher_temperature = temperature * (2 if power_normalisation else 1)
        self.register_buffer("log_prior", log_prior(task.class_counts), persistent=False)

    def forward(self, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        """`label` and `distillation`, scalars."""
        target = (batch.teacher_logits / self.teacher_temperature).log_softmax(1)
        predicted = (student["logits"] / self.temperature).log_softmax(1)
        distance = relative_entropy(target, predicted).mean()
        label = cross_entropy(student["logits"] + self.log_prior, batch)
        return {
            "label": (1 - self.weight) * label,
            "distillation": self.weight * self.temperature**2 * distance,
        }
