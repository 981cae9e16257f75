"""Similarity-preserving distillation: images alike to the teacher become alike to the student."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor
from torch.nn import functional as F

from ..outputs import Outputs
from .contract import BOTH_LABELS, Batch, Method, Task
from .losses import cross_entropy, not_negative


class SimilarityPreserving(Method):
    """CE + w / B^2 ||G(fS) - G(fT)||^2, squared Frobenius norm, from features fS, fT [B, D].

    G(f) [B, B] is f f^T with every row scaled to unit length: how much each image of the batch
    resembles the others. Only the two matrices are compared, so the widths D may differ and no
    projector is needed. The source takes the activation maps of convolutional layers; the cache
    holds the pooled features. The weight is RepDistiller's for the maps.

    Source: Tung and Mori, "Similarity-Preserving Knowledge Distillation", ICCV 2019
    (arXiv:1907.09682).
    """

    needs = frozenset({"features"})
    several_teachers = False
    mixtures = BOTH_LABELS

    def __init__(
        self,
        task: Task,
        *,
        weight: Annotated[float, "weight w of the similarities' term"] = 3000.0,
    ) -> None:
        super().__init__(task)
        self.weight = not_negative("weight", weight)

    def forward(self, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        """`label` and `similarity`, scalars."""
        answer = similarities(student["features"])
        target = similarities(batch.teachers[0]["features"])
        return {
            "label": cross_entropy(student["logits"], batch),
            "similarity": self.weight * F.mse_loss(answer, target),
        }


def similarities(features: Tensor) -> Tensor:
    """Products of all pairs of rows, every row scaled to unit length: [B, D] -> [B, B]."""
    return F.normalize(features @ features.T, dim=1)
