"""Feature regression (FitNet) at the pooled layer: the student imitates the teacher's features."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor
from torch.nn import functional as F

from ..outputs import Outputs
from .contract import BOTH_LABELS, Batch, Method, Task
from .losses import cross_entropy, not_negative
from .projector import seeded_linear


class FeatureRegression(Method):
    """CE + w * mean over all elements of (R(fS) - fT)^2, from features fS, fT [B, D].

    R is a linear layer to the teacher's width that is trained with the student and thrown
    away. FitNet compares one layer's maps in the middle of the networks, by a convolution
    with batch norm and ReLU, and in its first version as a stage before the training. The
    cache holds the pooled last layer, so here R is linear alone: means over an image need no
    further normalisation, and a batch of one image remains possible. The weight is
    mdistiller's for the maps.

    Source: Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015 (arXiv:1412.6550).
    """

    needs = frozenset({"features"})
    several_teachers = False
    mixtures = BOTH_LABELS

    def __init__(
        self,
        task: Task,
        *,
        weight: Annotated[float, "weight w of the features' term"] = 100.0,
    ) -> None:
        super().__init__(task)
        self.weight = not_negative("weight", weight)
        self.projector = seeded_linear(task.student_width, task.teachers[0].width, task.seed)

    def forward(self, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        """`label` and `feature`, scalars."""
        matched = self.projector(student["features"])
        return {
            "label": cross_entropy(student["logits"], batch),
            "feature": self.weight * F.mse_loss(matched, batch.teachers[0]["features"]),
        }
