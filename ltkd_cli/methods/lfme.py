"""LFME: an expert for each group of classes, whose weight falls as the student catches up."""

from __future__ import annotations

from typing import Annotated, cast

import torch
from torch import Tensor, nn

from ..outputs import Outputs
from ..splits import GROUP_NAMES
from .contract import Batch, Method, Task
from .losses import cross_entropy, divergence, not_negative, positive

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

    `curriculum`: the student's logits are multiplied, before both terms, by a weight of the
    image that rises linearly from its start to 1 at half of the training. It starts at the
    probability that the expert gives the label of the clean image, rescaled within each class
    to [f, 1]: f is the mean number of images of a low-shot class over that of a class of the
    group, so low-shot images count fully from the beginning. On ImageNet-LT that is 12/230
    for many-shot and 12/53 for medium-shot classes, as in the authors' code, which in the
    second half goes on to 2 less the start; here it stops at 1. A mixture starts between its
    two images, and counts as one of either in the accuracies, by the mixing coefficient.

    The authors draw four images of a class in a row; here it is one.

    Source: Xiang, Ding and Han, "Learning From Multiple Experts: Self-paced Knowledge
    Distillation for Long-tailed Classification", ECCV 2020 (arXiv:2001.01536).
    """

    needs = frozenset({"logits"})
    sampler = "class-balanced"
    takes_experts = True
    remembers_images = True
    mixtures = "mixed labels and starting weights"

    starts: Tensor

    def __init__(
        self,
        task: Task,
        *,
        weight: Annotated[float, "weight w of all experts together"] = 1.0,
        temperature: Annotated[float, "temperature T of both networks"] = 2.0,
        adaptive: Annotated[
            bool, "let an expert's weight w_g fall as the student comes up to it"
        ] = True,
        curriculum: Annotated[
            bool, "begin with the images that the experts are sure of, and all of rare classes"
        ] = True,
    ) -> None:
        super().__init__(task)
        self.weight = not_negative("weight", weight)
        self.temperature = positive("temperature", temperature)
        self.adaptive = adaptive
        self.curriculum = curriculum
        self.experts = nn.ModuleList(
            _Expert(number, classes, task.classes) for number, classes in _experts(task)
        )
        if curriculum:
            starts = starting_weights(task, cast(list[_Expert], self.experts))
            self.register_buffer("starts", starts, persistent=False)

    def forward(self, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        """`label` and `experts`, scalars; in training, keeps track of the accuracies."""
        experts = cast(list[_Expert], self.experts)
        logits_of = [expert.logits(batch) for expert in experts]
        logits = student["logits"]
        if self.curriculum:
            logits = logits * curriculum_weights(self._starts(batch), batch.progress)[:, None]
        distillation = logits.new_zeros(())
        for expert, taught in zip(experts, logits_of, strict=True):
            distance = divergence(taught, logits[:, expert.classes], self.temperature)
            distillation = distillation + self._weight_of(expert) * distance
        if self.training:
            for expert, taught in zip(experts, logits_of, strict=True):
                expert.count(taught, student["logits"].detach(), batch)
        return {
            "label": cross_entropy(logits, batch),
            "experts": self.weight * distillation,
        }

    def _starts(self, batch: Batch) -> Tensor:
        """Weight [B] that each image starts with."""
        own, partners = self.starts[batch.rows], batch.partners
        if partners is None:
            return own
        return own + (1 - partners.shares) * (self.starts[partners.rows] - own)

    def _weight_of(self, expert: _Expert) -> Tensor | float:
        return expert.weight() if self.adaptive else 1.0


class _Expert(nn.Module):
    """One teacher of one group of classes, and how the student compares with it."""

    classes: Tensor
    place: Tensor
    correct: Tensor

    def __init__(self, number: int, classes: list[int], all_classes: int) -> None:
        super().__init__()
        self.number = number
        places = torch.full((all_classes,), -1)
        places[classes] = torch.arange(len(classes))
        self.register_buffer("classes", torch.tensor(classes), persistent=False)
        self.register_buffer("place", places, persistent=False)
        # Decayed counts of correct predictions, the student's and the expert's.
        self.register_buffer("correct", torch.zeros(2))

    def logits(self, batch: Batch) -> Tensor:
        """The expert's logits for its own classes [B, C_g]; the others mean nothing."""
        logits = batch.teachers[self.number]["logits"]
        return logits[:, self.classes]

    def knows(self, labels: Tensor) -> Tensor:
        """Whether each label [B] is one of the expert's classes."""
        return self.place[labels] >= 0

    def confidence(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Probability [B] that the expert gives the label; 0 for other experts' labels."""
        place = self.place[labels].clamp(min=0)[:, None]
        return logits.softmax(1).gather(1, place)[:, 0] * self.knows(labels)

    def weight(self) -> Tensor:
        """w_g in [0, 1], from the accuracies of the batches so far."""
        smallest = torch.finfo(self.correct.dtype).tiny
        ratio = self.correct[0] / self.correct[1].clamp(min=smallest)
        return ((1 - ratio) / (1 - FULL_WEIGHT_BELOW)).clamp(0, 1)

    def count(self, taught: Tensor, logits: Tensor, batch: Batch) -> None:
        """Adds a batch to the running counts of correct predictions on the expert's classes."""
        new, partners = self._correct(taught, logits, batch.labels), batch.partners
        if partners is not None:
            theirs = self._correct(taught, logits, partners.labels)
            new = new * partners.shares + theirs * (1 - partners.shares)
        self.correct.mul_(TALLY_DECAY).add_(new.sum(1))

    def _correct(self, taught: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """Whether the student and the expert are right on the expert's classes: bool [2, B]."""
        right = torch.stack([logits.argmax(1) == labels, taught.argmax(1) == self.place[labels]])
        return right & self.knows(labels)


def starting_weights(task: Task, experts: list[_Expert]) -> Tensor:
    """Weight [N] of every training image at the start, from its class's floor to 1.

    It is linear in the expert's confidence between the least and the most of the class. Images
    count fully where their class knows but one confidence, or no expert knows the class.
    """
    confidence = clean_confidence(task, experts)
    lowest, highest = (
        confidence.new_zeros(task.classes).scatter_reduce(
            0, task.labels, confidence, way, include_self=False
        )[task.labels]
        for way in ("amin", "amax")
    )
    relative = torch.where(highest > lowest, (confidence - lowest) / (highest - lowest), 1.0)
    floors = class_floors(task)[task.labels]
    return floors + (1 - floors) * relative


def clean_confidence(task: Task, experts: list[_Expert]) -> Tensor:
    """Probability [N] of each training image's label by its experts; 1 where there is none.

    Of a label that several experts know, the mean.
    """
    total = torch.zeros(len(task.labels))
    known = torch.zeros_like(total)
    for number, teacher in enumerate(task.teachers):
        own = [expert for expert in experts if expert.number == number]
        begin = 0
        for logits in teacher.clean("logits"):
            rows = slice(begin, begin + len(logits))
            labels = task.labels[rows]
            for expert in own:
                total[rows] += expert.confidence(logits[:, expert.classes], labels)
                known[rows] += expert.knows(labels)
            begin = rows.stop
    return torch.where(known > 0, total / known.clamp(min=1), 1.0)


def class_floors(task: Task) -> Tensor:
    """The least starting weight [C] of each class: images of a rare class over those of its own.

    Both are rounded means over a group's classes, as the authors' 12, 53 and 230 are. The
    group with the fewest images has 1.
    """
    groups = [classes for name in GROUP_NAMES if (classes := task.groups.classes(name))]
    means = [max(1, round(float(task.class_counts[group].double().mean()))) for group in groups]
    floors = torch.ones(task.classes)
    for group, mean in zip(groups, means, strict=True):
        floors[group] = min(means) / mean
    return floors


def curriculum_weights(starts: Tensor, progress: Tensor) -> Tensor:
    """Weights [B] that rise linearly from their start [B] to 1 at half of the training."""
    share = (progress / CURRICULUM_END).clamp(max=1).to(starts.dtype)
    return starts + (1 - starts) * share


def _experts(task: Task) -> list[tuple[int, list[int]]]:
    """Number of the teacher and classes of each expert."""
    groups = [task.groups.classes(group) for group in GROUP_NAMES]
    found = []
    for number, teacher in enumerate(task.teachers):
        own = [list(teacher.classes)] if teacher.classes else groups
        found += [(number, classes) for classes in own if classes]
    return found
