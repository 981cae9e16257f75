"""LTKD: a biased teacher's probabilities, split by class groups and balanced between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor

from ..data.groups import group_classes
from ..outputs import Outputs
from ..splits import GROUP_NAMES
from .contract import BOTH_LABELS, Batch, Method, Task
from .losses import cross_entropy, not_negative, positive, relative_entropy


class LongTailedDistillation(Method):
    """CE + T^2 (alpha KL(between groups) + beta KL(within groups)), from logits [B, C].

    The classes form three groups by rank: the largest 33 %, the next 34 %, the last 33 %.
    p_G [B, 3] is the teacher's probability of a group at temperature T, q_G the student's.
    KL(p || q) is the sum of KL(p_G || q_G) and sum_G p_G KL(p within G || q within G). LTKD
    corrects both parts. `rebalance` scales p_G so that its three sums over the batch are
    equal, then renormalises every sample; it depends on the batch, and a batch of one has
    1/3 each. `reweight` replaces the weight p_G of the second part by 1. The mean is taken
    over samples, and the labels' cross-entropy has weight 1.

    No code is public. The two corrections follow the paper's description; the values of
    alpha, beta and T, and the factor T^2 on both terms, are not verified against it.

    Source: Kim, "Distilling Balanced Knowledge from a Biased Teacher", CVPR 2026
    (arXiv:2506.18496).
    """

    needs = frozenset({"logits"})
    mixtures = BOTH_LABELS

    by_group: Tensor

    def __init__(
        self,
        task: Task,
        *,
        between_weight: Annotated[float, "weight alpha between groups (not verified)"] = 1.0,
        within_weight: Annotated[float, "weight beta within groups (not verified)"] = 1.0,
        temperature: Annotated[float, "temperature T of both networks (not verified)"] = 4.0,
        rebalance: Annotated[
            bool, "scale the teacher's groups to equal sums over the batch"
        ] = True,
        reweight: Annotated[
            bool, "weigh the groups equally, not by the teacher's probability of them"
        ] = True,
    ) -> None:
        super().__init__(task)
        self.between_weight = not_negative("between_weight", between_weight)
        self.within_weight = not_negative("within_weight", within_weight)
        self.temperature = positive("temperature", temperature)
        self.rebalance = rebalance
        self.reweight = reweight
        groups = group_classes(task.class_counts.tolist(), "rank")
        members = [classes for name in GROUP_NAMES if (classes := groups.classes(name))]
        self.group_sizes = [len(classes) for classes in members]
        by_group = torch.tensor([c for classes in members for c in classes])
        self.register_buffer("by_group", by_group, persistent=False)

    def forward(self, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        """`label`, `between-groups` and `within-groups`, scalars."""
        teacher = self._groups(batch.teacher_logits)
        predicted = self._groups(student["logits"])
        scale = self.temperature**2
        return {
            "label": cross_entropy(student["logits"], batch),
            "between-groups": scale * self.between_weight * self._between(teacher, predicted),
            "within-groups": scale * self.within_weight * self._within(teacher, predicted),
        }

    def _groups(self, logits: Tensor) -> Sequence[Tensor]:
        softened = logits.index_select(1, self.by_group) / self.temperature
        return torch.split(softened, self.group_sizes, 1)

    def _between(self, teacher: Sequence[Tensor], student: Sequence[Tensor]) -> Tensor:
        target = log_masses(teacher)
        if self.rebalance:
            target = (target - target.logsumexp(0)).log_softmax(1)
        return relative_entropy(target, log_masses(student)).mean()

    def _within(self, teacher: Sequence[Tensor], student: Sequence[Tensor]) -> Tensor:
        pairs = zip(teacher, student, strict=True)
        by_group = [relative_entropy(t.log_softmax(1), s.log_softmax(1)) for t, s in pairs]
        distances = torch.stack(by_group, 1)
        if not self.reweight:
            distances = log_masses(teacher).exp() * distances
        return distances.sum(1).mean()


def log_masses(groups: Sequence[Tensor]) -> Tensor:
    """Log probability of every group [B, G], from the logits of its classes [B, C_G] each."""
    return torch.stack([logits.logsumexp(1) for logits in groups], 1).log_softmax(1)
