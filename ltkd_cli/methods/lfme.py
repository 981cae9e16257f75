"""LFME: one expert for each group of classes, each followed until the student keeps up."""

from __future__ import annotations

from typing import Annotated, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..data.groups import GROUP_NAMES
from ..outputs import Outputs
from .contract import Batch, Method, Task
from .losses import divergence, not_negative, positive

FULL_WEIGHT_BELOW = 0.3
"""Share of an expert's accuracy up to which the student follows it with full weight."""

CURRICULUM_END = 0.5
"""Share of the training after which every image counts fully."""

TALLY_DECAY = 0.99
"""What the running accuracies keep of themselves from batch to batch."""


class MultipleExperts(Method):
    """CE + w sum over groups g of w_g KL(expert_g || student, on g's classes), from logits.

    For every sample and group, the softmax of the student's logits restricted to the group's
    classes [B, C_g] is compared with the expert's at temperature T; not multiplied by T^2.
    The mean is taken over samples. Give one cache for each expert, trained on its classes;
    from a cache of all classes, head, medium and tail are taken as three experts.

    `adaptive`: w_g is 1 while the student's accuracy on g is below 0.3 of the expert's, then
    falls, (1 - accuracy ratio) / 0.7, to 0. The authors measure both on a validation set each
    epoch. Here they are running accuracies on the training images of g, for want of a
    validation set and so as not to use the test set; they rise sooner, and the experts are
    left sooner.

    `curriculum`: the student's logits are multiplied, before both terms, by the expert's
    confidence c in the label, rising linearly to 1 at half of the training. The authors
    take c from the clean image and rescale it within each class; here it is the expert's
    probability for the view at hand. Their code goes on to 2 - c; here it stops at 1.

    Source: Xiang, Ding and Han, "Learning From Multiple Experts: Self-paced Knowledge
    Distillation for Long-tailed Classification", ECCV 2020 (arXiv:2001.01536).
    """

    needs = frozenset({"logits"})
    sampler = "class-balanced"
    takes_experts = True

    def __init__(
        self,
        task: Task,
        *,
        weight: Annotated[float, "weight w of all experts together"] = 1.0,
        temperature: Annotated[float, "temperature T of both networks"] = 2.0,
        adaptive: Annotated[
            bool, "let an expert's weight w_g fall as the student comes up to it"
        ] = True,
        curriculum: Annotated[bool, "begin with the images that the experts are sure of"] = True,
    ) -> None:
        super().__init__(task)
        self.weight = not_negative("weight", weight)
        self.temperature = positive("temperature", temperature)
        self.adaptive = adaptive
        self.curriculum = curriculum
        self.experts = nn.ModuleList(
            _Expert(number, classes, task.classes) for number, classes in _experts(task)
        )

    def forward(self, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        """`label` and `experts`, scalars; in training, keeps track of the accuracies."""
        experts = cast(list[_Expert], self.experts)
        answers = [expert.answer(batch) for expert in experts]
        logits = student["logits"]
        if self.curriculum:
            confidence = label_confidence(experts, answers, batch.labels)
            logits = logits * curriculum_weights(confidence, batch.progress)[:, None]
        distillation = logits.new_zeros(())
        for expert, answer in zip(experts, answers, strict=True):
            distance = divergence(answer, logits[:, expert.classes], self.temperature)
            distillation = distillation + self._weight_of(expert) * distance
        if self.training:
            for expert, answer in zip(experts, answers, strict=True):
                expert.count(answer, student["logits"].detach(), batch.labels)
        return {
            "label": F.cross_entropy(logits, batch.labels),
            "experts": self.weight * distillation,
        }

    def _weight_of(self, expert: _Expert) -> Tensor | float:
        return expert.weight() if self.adaptive else 1.0


class _Expert(nn.Module):
    """What one teacher says about one group of classes, and how the student compares."""

    classes: Tensor
    place: Tensor
    hits: Tensor

    def __init__(self, number: int, classes: list[int], all_classes: int) -> None:
        super().__init__()
        self.number = number
        places = torch.full((all_classes,), -1)
        places[classes] = torch.arange(len(classes))
        self.register_buffer("classes", torch.tensor(classes), persistent=False)
        self.register_buffer("place", places, persistent=False)
        # Decayed counts of right answers, the student's and the expert's.
        self.register_buffer("hits", torch.zeros(2))

    def answer(self, batch: Batch) -> Tensor:
        """The expert's logits for its own classes [B, C_g]; the others mean nothing."""
        logits = batch.teachers[self.number]["logits"]
        return logits[:, self.classes]

    def knows(self, labels: Tensor) -> Tensor:
        """Whether each label [B] is one of the expert's classes."""
        return self.place[labels] >= 0

    def confidence(self, answer: Tensor, labels: Tensor) -> Tensor:
        """Probability [B] that the expert gives the label; 0 for other experts' labels."""
        place = self.place[labels].clamp(min=0)[:, None]
        return answer.softmax(1).gather(1, place)[:, 0] * self.knows(labels)

    def weight(self) -> Tensor:
        """w_g in [0, 1], from the accuracies of the batches so far."""
        smallest = torch.finfo(self.hits.dtype).tiny
        ratio = self.hits[0] / self.hits[1].clamp(min=smallest)
        return ((1 - ratio) / (1 - FULL_WEIGHT_BELOW)).clamp(0, 1)

    def count(self, answer: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Adds a batch to the running counts of right answers on the expert's classes."""
        right = torch.stack([logits.argmax(1) == labels, answer.argmax(1) == self.place[labels]])
        new = (right & self.knows(labels)).sum(1)
        self.hits.mul_(TALLY_DECAY).add_(new)


def label_confidence(experts: list[_Expert], answers: list[Tensor], labels: Tensor) -> Tensor:
    """Probability [B] of the label by its own expert; 1 where no expert knows the class."""
    parts = [
        expert.confidence(answer, labels) for expert, answer in zip(experts, answers, strict=True)
    ]
    known = torch.stack([expert.knows(labels) for expert in experts]).sum(0)
    mean = torch.stack(parts).sum(0) / known.clamp(min=1)
    return torch.where(known > 0, mean, 1.0)


def curriculum_weights(confidence: Tensor, progress: Tensor) -> Tensor:
    """Weights [B] that rise linearly from the confidence [B] to 1 at half of the training."""
    share = (progress / CURRICULUM_END).clamp(max=1).to(confidence.dtype)
    return confidence + (1 - confidence) * share


def _experts(task: Task) -> list[tuple[int, list[int]]]:
    """Number of the teacher and classes of each expert."""
    groups = [task.groups.classes(group) for group in GROUP_NAMES]
    found = []
    for number, teacher in enumerate(task.teachers):
        own = [list(teacher.classes)] if teacher.classes else groups
        found += [(number, classes) for classes in own if classes]
    return found
