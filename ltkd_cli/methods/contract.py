"""What a distillation method is: (student outputs, batch) -> named, weighted loss terms.

A method is one class in one file of `ltkd_cli/methods/`; the file's name, with hyphens,
is its name on the command line. `all_names`, `find` and `options` read those files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..data.groups import Groups
from ..outputs import Outputs


@dataclass(frozen=True)
class Teacher:
    """What a method may know of one teacher before the first batch."""

    width: int
    """D of its stored features; 0 where none are stored."""
    clean: Callable[[str], Iterable[Tensor]]
    """Reads one output by name for view 0 (the clean image) of all rows: blocks of them, in their
    order, float32 [B, ...], since those of all rows together may need too much memory."""
    classes: tuple[int, ...] = ()
    """The classes it was trained on; empty for all."""


@dataclass(frozen=True)
class Task:
    """What a method may know before the first batch."""

    class_counts: Tensor
    """Training images of each class, int64 [C]."""
    labels: Tensor
    """Label of every training row, int64 [N]."""
    groups: Groups
    student_width: int
    """D of the student's features, after a projection that is part of the student."""
    teachers: tuple[Teacher, ...] = ()
    seed: int = 0

    @property
    def classes(self) -> int:
        """C."""
        return len(self.class_counts)


@dataclass(frozen=True)
class Partners:
    """The other images in the mixtures of a batch, one for each of its images.

    An image that is not mixed is its own partner, with a share of 1.
    """

    labels: Tensor
    """int64 [B]."""
    rows: Tensor
    """Rows in the training set, int64 [B]."""
    shares: Tensor
    """The image's own share of its mixture, float32 [B] in [0, 1]; the rest is its partner's."""


@dataclass(frozen=True)
class Batch:
    """One step's training data: exactly what the method declared, for the same views."""

    labels: Tensor
    """int64 [B]."""
    rows: Tensor
    """Row of every image in the training set, int64 [B]."""
    teachers: tuple[Outputs, ...]
    """Each teacher's outputs for the very same pixels; float32."""
    progress: Tensor
    """Share of the training that lies behind, in [0, 1); float64 scalar tensor."""
    partners: Partners | None = None
    """With whom the images are mixed; None where the view policy mixes none."""

    @property
    def teacher_logits(self) -> Tensor:
        """Logits [B, C] of the teacher, the mean over teachers where there are several."""
        if len(self.teachers) == 1:
            return self.teachers[0]["logits"]
        return torch.stack([outputs["logits"] for outputs in self.teachers]).mean(0)


BOTH_LABELS = "mixed labels"
"""What mixtures are to a method that knows labels in nothing but a mean over images."""


class Method(nn.Module):
    """A way to train: declares what it needs, returns weighted terms that sum to the loss."""

    needs: ClassVar[frozenset[str]] = frozenset()
    """Cache datasets it reads: `logits`, `features`; empty for a method without a teacher."""
    sampler: ClassVar[str] = "instance"
    """How training rows are drawn: `instance` or `class-balanced`."""
    teacher: ClassVar[str] = "ce"
    """The method that its source trains the teacher with; a warning is given for another."""
    head: ClassVar[str] = "linear"
    """Last layer of the student: `linear`, or `cosine:SCALE` (unit features and weights)."""
    head_is_given: ClassVar[bool] = False
    """Whether its loss is that of this very head, so that no other can be asked for."""
    several_teachers: ClassVar[bool] = True
    """Whether more than one cache makes sense."""
    takes_experts: ClassVar[bool] = False
    """Whether it knows what to do with teachers that learned some of the classes only."""
    remembers_images: ClassVar[bool] = False
    """Whether a batch's loss depends on the images of earlier ones, so that no other process may
    train on a part of them."""
    mixtures: ClassVar[str] = ""
    """What mixtures of two images are to it; empty where it cannot train on them.

    A method that says so reads the `partners` of a batch, and its loss is then that of both
    labels. The teachers' outputs are those for the mixture, and need no weighting.
    """

    def __init__(self, task: Task) -> None:
        super().__init__()

    @classmethod
    def projection(cls, student_width: int, teacher_widths: tuple[int, ...]) -> int:
        """Width of a projection that stays in the deployed student; 0 for none."""
        return 0

    def forward(self, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Terms of the loss: name -> scalar tensor, already weighted; their sum is the loss.

        `student` is float32 and carries gradients; `logits` [B, C], `features` [B, D].
        """
        raise NotImplementedError(f"{type(self).__name__} defines no loss")
