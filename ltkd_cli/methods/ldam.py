"""LDAM with deferred re-weighting: rare classes must win by a larger margin."""

from __future__ import annotations

from typing import Annotated, get_args

import torch
from torch import Tensor

from ..outputs import Outputs
from .contract import BOTH_LABELS, Batch, Method, Task
from .losses import (
    Normaliser,
    deferred,
    effective_number_weights,
    not_negative,
    one_of,
    share,
    weighted_cross_entropy,
)

SCALE = 30.0
"""s: the cosines of the student's head are multiplied by it before they are called logits."""


class LabelDistributionAwareMargin(Method):
    """Cross-entropy of s (cos - m_y at the label), from logits s cos [B, C], labels y [B].

    The margins m_c [C] are proportional to n_c^(-1/4), and the rarest class has `max_margin`.
    The student's head computes cosines and multiplies them by s = 30, so the margin is
    subtracted from the label's logit as s m_y. Class weights by effective number apply from
    `from_progress` on: 0.8 is the authors' 160 of 200 epochs, and BagofTricks-LT begins one
    epoch earlier, at 0.795. Both divide the weighted sum over a batch by the sum of the
    batch's weights; `normalise_by` can have it divided by the number of samples. The class
    vectors of the head begin as Xavier's uniform weights; the authors' begin with length 1.

    Source: Cao et al., "Learning Imbalanced Datasets with Label-Distribution-Aware Margin
    Loss", NeurIPS 2019 (arXiv:1906.07413).
    """

    head = f"cosine:{SCALE:g}"
    head_is_given = True
    mixtures = BOTH_LABELS

    margins: Tensor
    class_weights: Tensor

    def __init__(
        self,
        task: Task,
        *,
        max_margin: Annotated[float, "margin of the rarest class, as a cosine"] = 0.5,
        beta: Annotated[
            float, "beta of the effective number: 0 is unweighted, near 1 inverse frequency"
        ] = 0.9999,
        from_progress: Annotated[
            float, "share of the training from which class weights apply"
        ] = 0.8,
        normalise_by: Annotated[
            Normaliser,
            "what a batch's sum is divided by: batch-weights (LDAM-DRW and BagofTricks-LT) or "
            "batch-size",
        ] = "batch-weights",
    ) -> None:
        super().__init__(task)
        self.normalise_by = one_of("normalise_by", normalise_by, get_args(Normaliser))
        self.from_progress = share("from_progress", from_progress)
        counts = task.class_counts.double()
        fewest = counts[counts > 0].min()
        margins = (
            not_negative("max_margin", max_margin) * (fewest / counts.clamp(min=fewest)) ** 0.25
        )
        self.register_buffer("margins", SCALE * margins.float(), persistent=False)
        weights = effective_number_weights(task.class_counts, beta)
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        """`label`: the weighted cross-entropy of the lowered logits, a scalar."""
        weights = deferred(self.class_weights, batch.progress, self.from_progress)
        classes = torch.arange(len(weights), device=weights.device)

        def lowered(labels: Tensor) -> Tensor:
            return student["logits"] - (classes == labels[:, None]) * self.margins

        return {"label": weighted_cross_entropy(lowered, batch, weights, self.normalise_by)}
