"""KRDistill, reconstructed: the teacher's features and logits are rectified before use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..outputs import Outputs
from .contract import Batch, Method, Task, Teacher
from .etf import balanced_frame, procrustes
from .losses import (
    cross_entropy,
    effective_number_weights,
    label_mean,
    log_prior,
    not_negative,
    one_of,
    positive,
    relative_entropy,
    share,
)
from .projector import seeded_linear

EFFECTIVE_NUMBER_BETA = 0.9999
"""Beta of the class weights that `sample_weight_exponent` tempers, as in BKD."""

Target = Literal["feature", "class-mean"]
"""What the features' term pulls to the anchors."""

ASSIGNED = 1000
"""Classes up to which anchors are assigned to classes in about a second."""

MOST_TURNS = 20
"""Of assignment and rotation; they settle after a few."""


class KnowledgeRectificationDistillation(Method):
    """A reconstruction from the abstract: the paper's formulas and code were not available.

    None of its numbers is the paper's. CE + a T^2 w_y KL(softmax(z''/T) || softmax(zS/T))
    + b (1 - cos(P fS, r)), the mean over samples, from logits [B, C] and features [B, D].

    Logits: z' is zT with the label's logit and the largest one exchanged, so that the
    teacher is right and all other relations stay; z'' = z' - lambda ln pi takes the class
    prior pi out. w_y are effective-number weights to a power, with mean 1 over the images.

    Features: one unit anchor for every class, all at the same angle to each other where D
    allows it, turned onto the class means of the teacher's unit features (Procrustes). r is
    the teacher's unit feature pulled towards its class's anchor by g_max (1 - n_y / n_max)
    and normalised: the largest class keeps the teacher's, the rarest goes furthest. P is
    linear, used only where the widths differ, and thrown away after training.

    What the teacher says of a mixture is rectified for either label, with its w_y and anchor,
    and all three terms are those of both labels, weighted by the mixing coefficient.

    Every part can be switched off; with all of them off it is CE + a T^2 KL.

    Source: after Huang et al., "Learn from Balance: Rectifying Knowledge Transfer for
    Long-Tailed Scenarios", 2024 (arXiv:2409.07694); what follows the abstract is ours.
    """

    needs = frozenset({"logits", "features"})
    several_teachers = False
    mixtures = "rectified for both labels, weighted"

    prior_shift: Tensor
    class_weights: Tensor

    def __init__(
        self,
        task: Task,
        *,
        logit_weight: Annotated[float, "weight a of the logits' term"] = 1.0,
        temperature: Annotated[float, "temperature T of both networks"] = 2.0,
        exchange: Annotated[
            bool, "exchange the label's logit and the largest where the teacher is wrong"
        ] = True,
        prior_strength: Annotated[
            float, "lambda: how much of the class prior is taken out of the logits; 0 for none"
        ] = 1.0,
        sample_weight_exponent: Annotated[
            float, "power of the effective-number weights w of samples; 0 for none, 1 for full"
        ] = 0.0,
        representation_weight: Annotated[float, "weight b of the features' term"] = 40.0,
        pull: Annotated[
            float, "g_max: how far the rarest class is pulled to its anchor, 0 to 1"
        ] = 0.5,
        target: Annotated[
            Target, "what is pulled: the feature of the image, or the class-mean of its class"
        ] = "feature",
    ) -> None:
        super().__init__(task)
        self.logit_weight = not_negative("logit_weight", logit_weight)
        self.temperature = positive("temperature", temperature)
        self.exchange = exchange
        self.representation_weight = not_negative("representation_weight", representation_weight)
        shift = not_negative("prior_strength", prior_strength) * log_prior(task.class_counts)
        self.register_buffer("prior_shift", shift, persistent=False)
        weights = _tempered_weights(task.class_counts, sample_weight_exponent)
        self.register_buffer("class_weights", weights, persistent=False)
        self.representation = (
            _BalancedRepresentation(task, pull, target) if representation_weight else None
        )

    def forward(self, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        """`label`, `distillation` and, unless its weight is 0, `representation`; scalars."""
        terms = {
            "label": cross_entropy(student["logits"], batch),
            "distillation": self.logit_weight * self._distillation(student["logits"], batch),
        }
        if self.representation is not None:
            distances = self.representation(student["features"], batch.teachers[0]["features"])
            distance = label_mean(distances, batch)
            terms["representation"] = self.representation_weight * distance
        return terms

    def _distillation(self, logits: Tensor, batch: Batch) -> Tensor:
        taught = batch.teacher_logits
        predicted = (logits / self.temperature).log_softmax(1)

        def distances(labels: Tensor) -> Tensor:
            target = exchange_with_label(taught, labels) if self.exchange else taught
            target = ((target - self.prior_shift) / self.temperature).log_softmax(1)
            return self.class_weights[labels] * relative_entropy(target, predicted)

        return self.temperature**2 * label_mean(distances, batch)


class _BalancedRepresentation(nn.Module):
    """1 - cosine of the student's features and the teacher's, pulled to balanced anchors."""

    means: Tensor
    anchors: Tensor
    pulls: Tensor

    def __init__(self, task: Task, pull: float, target: str) -> None:
        super().__init__()
        self.of_class = one_of("target", target, get_args(Target)) == "class-mean"
        teacher = task.teachers[0]
        means = class_means(teacher, task.labels, task.classes)
        self.register_buffer("means", F.normalize(means, dim=1).float())
        self.register_buffer("anchors", balanced_anchors(means).float())
        rarity = 1 - task.class_counts.double() / task.class_counts.max()
        self.register_buffer("pulls", (share("pull", pull) * rarity).float()[:, None])
        self.projector: nn.Module = nn.Identity()
        if task.student_width != teacher.width:
            self.projector = seeded_linear(task.student_width, teacher.width, task.seed)

    def forward(self, features: Tensor, taught: Tensor) -> Callable[[Tensor], Tensor]:
        """From features [B, D'] of the student, [B, D] of the teacher: labels [B] -> [B]."""
        unit = F.normalize(self.projector(features), dim=1)

        def distances(labels: Tensor) -> Tensor:
            pull = self.pulls[labels]
            own = self.means[labels] if self.of_class else F.normalize(taught, dim=1)
            target = F.normalize((1 - pull) * own + pull * self.anchors[labels], dim=1)
            return 1 - (unit * target).sum(1)

        return distances


def exchange_with_label(logits: Tensor, labels: Tensor) -> Tensor:
    """Logits [B, C] in which the label's and the largest have changed places in every row."""
    largest, where = logits.max(1, keepdim=True)
    own = logits.gather(1, labels[:, None])
    return logits.scatter(1, where, own).scatter(1, labels[:, None], largest)


def class_means(teacher: Teacher, labels: Tensor, classes: int) -> Tensor:
    """Mean unit feature of every class, float64 [C, D]; 0 for a class without rows."""
    sums = torch.zeros(classes, teacher.width, dtype=torch.float64)
    begin = 0
    for features in teacher.clean("features"):
        own = labels[begin : begin + len(features)]
        sums.index_add_(0, own, F.normalize(features.double(), dim=1))
        begin += len(features)
    return sums / torch.bincount(labels, minlength=classes).clamp(min=1)[:, None]


def balanced_anchors(means: Tensor) -> Tensor:
    """Unit anchors float64 [C, D], far from each other, turned as close to the means as can be.

    In a simplex, of C <= D + 1 classes, all angles are equal, and it does not matter which class
    has which corner. Of other frames each class gets the anchor that suits it, in turns with the
    rotation, up to `ASSIGNED` classes.
    """
    classes, width = means.shape
    frame = balanced_frame(classes, width)
    anchors = frame @ procrustes(frame, means)
    if not width + 1 < classes <= ASSIGNED:
        return anchors
    from scipy.optimize import linear_sum_assignment  # slow to load, and few sets need it

    for _ in range(MOST_TURNS):
        _, order = linear_sum_assignment((means @ anchors.T).numpy(), maximize=True)
        if (order == range(classes)).all():
            break
        frame = frame[torch.from_numpy(order)]
        anchors = frame @ procrustes(frame, means)
    return anchors


def _tempered_weights(class_counts: Tensor, exponent: float) -> Tensor:
    """Effective-number weights [C] to the power of `exponent`, with mean 1 over the images."""
    weights = effective_number_weights(class_counts, EFFECTIVE_NUMBER_BETA).double()
    weights = weights ** not_negative("sample_weight_exponent", exponent)
    return (weights * (class_counts.sum() / (weights * class_counts).sum())).float()
