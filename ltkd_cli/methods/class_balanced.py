"""Class-balanced loss: cross-entropy weighted by the effective number of the label's class."""

from __future__ import annotations

from typing import Annotated, get_args

from torch import Tensor

from ..outputs import Outputs
from .contract import BOTH_LABELS, Batch, Method, Task
from .losses import (
    Normaliser,
    deferred,
    effective_number_weights,
    one_of,
    share,
    weighted_cross_entropy,
)


class ClassBalanced(Method):
    """Weighted mean over samples of w_y CE(z, y), from logits z [B, C], class weights w [C].

    w_c is (1 - beta) / (1 - beta^n_c), scaled to sum to C. The authors' code divides the sum
    over a batch by the number of samples B. That of LDAM-DRW and BagofTricks-LT, which defers
    the weights, divides by the sum of the batch's weights: on CIFAR-10-LT at imbalance 100
    gradients are then six times as large. `normalise_by` chooses; in either sum a mixture of two
    images counts as one of either label, by the mixing coefficient.

    Source: Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019
    (arXiv:1901.05555); deferred weights: Cao et al., NeurIPS 2019 (arXiv:1906.07413).
    """

    mixtures = BOTH_LABELS

    class_weights: Tensor

    def __init__(
        self,
        task: Task,
        *,
        beta: Annotated[
            float,
            "beta of the effective number: 0 is plain, near 1 inverse frequency; BagofTricks-LT "
            "uses 0.9999 on CIFAR-10-LT and 0.9 on CIFAR-100-LT",
        ] = 0.9999,
        from_progress: Annotated[
            float,
            "share of the training from which class weights apply, plain cross-entropy "
            "before; 0.8 defers them as LDAM-DRW does",
        ] = 0.0,
        normalise_by: Annotated[
            Normaliser,
            "what a batch's sum is divided by: batch-size (Cui et al.) or batch-weights (LDAM-DRW "
            "and BagofTricks-LT)",
        ] = "batch-size",
    ) -> None:
        super().__init__(task)
        self.normalise_by = one_of("normalise_by", normalise_by, get_args(Normaliser))
        self.from_progress = share("from_progress", from_progress)
        weights = effective_number_weights(task.class_counts, beta)
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        """`label`: the weighted cross-entropy, a scalar."""
        weights = deferred(self.class_weights, batch.progress, self.from_progress)
        logits = student["logits"]
        loss = weighted_cross_entropy(lambda labels: logits, batch, weights, self.normalise_by)
        return {"label": loss}
