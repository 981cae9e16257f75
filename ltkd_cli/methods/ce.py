"""Cross-entropy on the labels alone: the plain way to train, and most teachers' way."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from ..outputs import Outputs
from .contract import BOTH_LABELS, Batch, Method, Task
from .losses import cross_entropy, share


class CrossEntropy(Method):
    """Mean over samples of -ln softmax(z)_y, from logits z [B, C] and labels y [B].

    Source: label smoothing as in Szegedy et al., "Rethinking the Inception Architecture for
    Computer Vision", CVPR 2016 (arXiv:1512.00567).
    """

    mixtures = BOTH_LABELS

    def __init__(
        self,
        task: Task,
        *,
        label_smoothing: Annotated[float, "share of the label spread over all classes"] = 0.0,
    ) -> None:
        super().__init__(task)
        self.label_smoothing = share("label_smoothing", label_smoothing)

    def forward(self, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        """`label`: the cross-entropy, a scalar."""
        smoothing = self.label_smoothing
        return {"label": cross_entropy(student["logits"], batch, smoothing)}
