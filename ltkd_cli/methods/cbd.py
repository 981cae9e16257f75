"""CBD: class-balanced sampling, with the teacher's features as a guide."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import MethodError
from ..outputs import Outputs
from .contract import BOTH_LABELS, Batch, Method, Task
from .losses import cross_entropy, not_negative, share


class ClassBalancedDistillation(Method):
    """(1 - alpha) CE + alpha beta (1 - cos(f, t)), the mean over samples, from features.

    f [B, D] are the student's features; t [B, D] the teacher's, of unit length. With alpha
    0.4 and beta 100 that is 0.6 CE + 40 (1 - cos). Of several teachers, t is their unit
    features side by side, again of unit length. Where the widths differ, and with several
    teachers, the student gets a projection (linear and ReLU) to the width of t. Its output is
    both what is compared and what the classifier reads, so it stays in the deployed network.

    Rows are drawn class-balanced, and both networks end in a cosine classifier of scale 20:
    train the teacher with `ltkd teach --head cosine:20`. Only its features are used.

    Source: Iscen et al., "Class-Balanced Distillation for Long-Tailed Visual Recognition",
    BMVC 2021 (arXiv:2104.05279), with the numbers of the authors' code.
    """

    needs = frozenset({"features"})
    sampler = "class-balanced"
    head = "cosine:20"
    mixtures = BOTH_LABELS

    def __init__(
        self,
        task: Task,
        *,
        feature_share: Annotated[
            float, "alpha: weight of the features' term; the labels' gets the rest"
        ] = 0.4,
        feature_scale: Annotated[
            float, "beta: factor on the features' term, so that its weight is alpha beta"
        ] = 100.0,
    ) -> None:
        super().__init__(task)
        self.feature_share = share("feature_share", feature_share)
        self.feature_scale = not_negative("feature_scale", feature_scale)
        _check_widths(task)

    @classmethod
    def projection(cls, student_width: int, teacher_widths: tuple[int, ...]) -> int:
        """0 for one teacher as wide as the student, else the width of all teachers together."""
        return 0 if teacher_widths == (student_width,) else sum(teacher_widths)

    def forward(self, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        """`label` and `feature`, scalars."""
        target = joint_features(batch.teachers)
        cosine = (F.normalize(student["features"], dim=1) * target).sum(1)
        label = cross_entropy(student["logits"], batch)
        return {
            "label": (1 - self.feature_share) * label,
            "feature": self.feature_share * self.feature_scale * (1 - cosine).mean(),
        }


def joint_features(teachers: tuple[Outputs, ...]) -> Tensor:
    """Unit features [B, D1 + D2 + ...]: every teacher's, normalised, side by side."""
    units = [F.normalize(outputs["features"], dim=1) for outputs in teachers]
    return F.normalize(torch.cat(units, dim=1), dim=1)


def _check_widths(task: Task) -> None:
    target = sum(teacher.width for teacher in task.teachers)
    if task.student_width != target:
        raise MethodError(
            f"cbd compares {task.student_width} features of the student with {target} of the "
            "teacher; there must be equally many.",
            f"build the student with a projection of width {target}",
        )
