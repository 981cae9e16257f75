"""DIST: the student keeps the teacher's relations, not its exact probabilities."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor
from torch.linalg import vector_norm

from ..outputs import Outputs
from .contract import BOTH_LABELS, Batch, Method, Task
from .losses import cross_entropy, not_negative, positive

EPSILON = 1e-8
"""Added to the product of two lengths, so that constant vectors correlate 0 with any other."""


class RelationDistillation(Method):
    """CE + w tau^2 (beta (1 - mean row rho) + gamma (1 - mean column rho)).

    rho is Pearson's correlation between the matrices softmax(zS/tau), softmax(zT/tau), both
    [B, C]: rows relate the classes of a sample, columns the samples of a batch. A column
    that is constant, as every column of a batch of one is, has rho 0. The columns of
    classes that a batch hardly touches say little: large batches suit this method.

    Defaults are those for CIFAR-100; the authors use tau 1 for ImageNet.

    Source: Huang et al., "Knowledge Distillation from A Stronger Teacher", NeurIPS 2022
    (arXiv:2205.10536).
    """

    needs = frozenset({"logits"})
    mixtures = BOTH_LABELS

    def __init__(
        self,
        task: Task,
        *,
        weight: Annotated[float, "weight w of both of the teacher's terms"] = 2.0,
        inter_weight: Annotated[
            float, "weight beta of the relations between classes, in a sample"
        ] = 1.0,
        intra_weight: Annotated[
            float, "weight gamma of the relations between samples, in a class"
        ] = 1.0,
        temperature: Annotated[float, "temperature tau of both networks"] = 4.0,
    ) -> None:
        super().__init__(task)
        self.temperature = positive("temperature", temperature)
        scale = not_negative("weight", weight) * temperature**2
        self.inter_weight = scale * not_negative("inter_weight", inter_weight)
        self.intra_weight = scale * not_negative("intra_weight", intra_weight)

    def forward(self, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        """`label`, `inter-class` and `intra-class`, scalars."""
        target = (batch.teacher_logits / self.temperature).softmax(1)
        predicted = (student["logits"] / self.temperature).softmax(1)
        return {
            "label": cross_entropy(student["logits"], batch),
            "inter-class": self.inter_weight * (1 - correlation(target, predicted, 1).mean()),
            "intra-class": self.intra_weight * (1 - correlation(target, predicted, 0).mean()),
        }


def correlation(first: Tensor, second: Tensor, dim: int) -> Tensor:
    """Pearson's correlation along one dimension of two matrices, 0 where one is constant."""
    first = first - first.mean(dim, keepdim=True)
    second = second - second.mean(dim, keepdim=True)
    lengths: Tensor = vector_norm(first, dim=dim) * vector_norm(second, dim=dim)
    return (first * second).sum(dim) / (lengths + EPSILON)
