"""Class-balanced loss: cross-entropy weighted by the effective number of the label's class."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor
from torch.nn import functional as F

from ..outputs import Outputs
from .contract import Batch, Method, Task
from .losses import deferred, effective_number_weights, share


class ClassBalanced(Method):
    """Mean over samples of w_y CE(z, y), from logits z [B, C] and class weights w [C].

    w_c is (1 - beta) / (1 - beta^n_c), scaled to sum to C. The sum is divided by the number
    of samples, as in the authors' code; weighted means that divide by the sum of the batch's
    weights differ from it batch by batch.

    Source: Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019
    (arXiv:1901.05555); deferred weights: Cao et al., NeurIPS 2019 (arXiv:1906.07413).
    """

    class_weights: Tensor

    def __init__(
        self,
        task: Task,
        *,
        beta: Annotated[
            float, "beta of the effective number: 0 is plain, near 1 inverse frequency"
        ] = 0.9999,
        from_progress: Annotated[
            float,
            "share of the training from which class weights apply, plain cross-entropy "
            "before; 0.8 defers them as LDAM-DRW does",
        ] = 0.0,
    ) -> None:
        super().__init__(task)
        self.from_progress = share("from_progress", from_progress)
        weights = effective_number_weights(task.class_counts, beta)
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        """`label`: the weighted cross-entropy, a scalar."""
        weights = deferred(self.class_weights, batch.progress, self.from_progress)
        surprise = F.cross_entropy(student["logits"], batch.labels, reduction="none")
        return {"label": (weights[batch.labels] * surprise).mean()}
