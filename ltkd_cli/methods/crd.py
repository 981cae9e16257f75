"""CRD: contrastive loss; the two features of an image are positives, other classes negatives."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import MethodError
from ..outputs import Outputs
from ..rng import counter_hash, seeded
from .contract import Batch, Method, Task
from .losses import not_negative, positive
from .projector import seeded_linear

MOST_NEGATIVES = 2**24
WIDEST = 2**16
"""More are a slip of the finger, and no machine has memory for them."""

_STUDENT, _TEACHER, _DRAW = range(3)  # independent streams of one seed


class ContrastiveDistillation(Method):
    """CE + w (L_S + L_T): contrast with K images of other classes, both ways, from features.

    Both networks' features [B, D] get a linear layer to unit embeddings of width 128. L_S is
    the mean over samples of -ln h(own) - sum over K negatives of ln(1 - h(negative)), with
    h = p / (p + K/N), p = exp(cos / t) / Z, where cos compares the student's embedding with
    the teacher's remembered ones of the N training images; L_T is the same with the roles
    exchanged. Each image's remembered embedding moves by half towards the new one when the
    image is used. Z, N times the mean of exp(cos / t), is that of the first batch.

    Negatives are drawn with replacement among the images of other classes, as a hash of seed,
    progress and row; mdistiller does so only where there are fewer than K. Memory: 1 kB for
    every training image, and a few matrices [B, N].

    Mixtures of images are refused: what is remembered is of one image and its class.

    Source: Tian et al., "Contrastive Representation Distillation", ICLR 2020
    (arXiv:1910.10699), with the defaults of mdistiller.
    """

    needs = frozenset({"features"})
    several_teachers = False
    remembers_images = True

    by_class: Tensor
    first: Tensor
    class_counts: Tensor

    def __init__(
        self,
        task: Task,
        *,
        weight: Annotated[
            float, "weight w of the contrast; 0.8 is for long trainings, 0.1 suits 30 epochs"
        ] = 0.8,
        negatives: Annotated[int, "negatives K of an image"] = 16384,
        temperature: Annotated[float, "temperature t of the cosines"] = 0.07,
        momentum: Annotated[float, "share of a remembered embedding that an update keeps"] = 0.5,
        embedding_width: Annotated[int, "width of the embeddings that are compared"] = 128,
    ) -> None:
        super().__init__(task)
        if not (1 <= negatives <= MOST_NEGATIVES and 1 <= embedding_width <= WIDEST):
            raise MethodError(
                f"Option negatives of crd is from 1 to {MOST_NEGATIVES:,}, and embedding_width "
                f"from 1 to {WIDEST:,}.",
                "--set negatives=16384 --set embedding_width=128",
            )
        self.weight = not_negative("weight", weight)
        self.negatives = negatives
        self.seed = seeded(task.seed, _DRAW)
        widths = {_STUDENT: task.student_width, _TEACHER: task.teachers[0].width}
        self.embed_student, self.embed_teacher = (
            seeded_linear(width, embedding_width, task.seed, side) for side, width in widths.items()
        )
        self.of_student, self.of_teacher = (
            _Memory(
                _initial(len(task.labels), embedding_width, task.seed, side),
                positive("temperature", temperature),
                _momentum(momentum),
                negatives,
            )
            for side in widths
        )
        counts = torch.bincount(task.labels, minlength=task.classes)
        self.register_buffer("by_class", task.labels.argsort(stable=True), persistent=False)
        self.register_buffer("first", counts.cumsum(0) - counts, persistent=False)
        self.register_buffer("class_counts", counts, persistent=False)

    def forward(self, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        """`label` and `contrast`, scalars; in training, remembers the batch's embeddings."""
        mine = F.normalize(self.embed_student(student["features"]), dim=1)
        taught = F.normalize(self.embed_teacher(batch.teachers[0]["features"]), dim=1)
        drawn = self.draw_negatives(batch).to(mine.dtype)
        contrast = self.of_teacher(mine, batch.rows, drawn)
        contrast = contrast + self.of_student(taught, batch.rows, drawn)
        if self.training:
            self.of_student.remember(batch.rows, mine.detach())
            self.of_teacher.remember(batch.rows, taught.detach())
        return {
            "label": F.cross_entropy(student["logits"], batch.labels),
            "contrast": self.weight * contrast,
        }

    def draw_negatives(self, batch: Batch) -> Tensor:
        """How often each training image is a negative of each of the batch, float32 [B, N].

        Every row sums to K, and is 0 for images of the same class; all 0 where there is no
        other class.
        """
        first, own = self.first[batch.labels, None], self.class_counts[batch.labels, None]
        others = len(self.by_class) - own
        moment = batch.progress.view(torch.int64)
        numbers = torch.arange(self.negatives, device=batch.rows.device)
        hashes = counter_hash(self.seed, moment, batch.rows[:, None], numbers)
        place = hashes % others.clamp(min=1)
        place = place + own * (place >= first)  # rows are in class order: skip its own class
        rows = self.by_class[place.clamp(max=len(self.by_class) - 1)]
        counts = torch.zeros(len(rows), len(self.by_class), device=rows.device)
        # Counting, in place of gathering: adding ones gives the same sum in any order.
        counts.scatter_add_(1, rows, torch.ones_like(rows, dtype=counts.dtype))
        return counts * (others > 0)


class _Memory(nn.Module):
    """Remembered embeddings of one network [N, E], which the other's are contrasted with."""

    embeddings: Tensor
    log_normaliser: Tensor
    normalised: Tensor

    def __init__(
        self, embeddings: Tensor, temperature: float, momentum: float, negatives: int
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.momentum = momentum
        self.log_noise = math.log(negatives / len(embeddings))
        self.register_buffer("embeddings", embeddings)
        self.register_buffer("log_normaliser", torch.zeros(()))
        self.register_buffer("normalised", torch.tensor(False))
        self._known = False  # `normalised`, where nothing has to wait for the GPU to say so
        self.register_load_state_dict_post_hook(_Memory._take_up)  # type: ignore[no-untyped-call]

    def _take_up(self, _: object) -> None:
        """After a state was loaded: whether it has a normaliser."""
        self._known = bool(self.normalised)

    def forward(self, anchors: Tensor, rows: Tensor, drawn: Tensor) -> Tensor:
        """Mean contrast of unit anchors [B, E], rows [B], with negatives drawn [B, N] times."""
        # A copy, because the memory moves before the gradient is taken.
        scores = anchors @ self.embeddings.clone().T / self.temperature
        relative = scores - self._normaliser(scores.detach(), rows, drawn) - self.log_noise
        own = relative.gather(1, rows[:, None])[:, 0]
        return (F.softplus(-own) + (drawn * F.softplus(relative)).sum(1)).mean()

    def remember(self, rows: Tensor, embeddings: Tensor) -> None:
        """Moves the memory of `rows` towards new unit embeddings [B, E]."""
        # Of a row drawn twice the first counts: the order of writes must not matter.
        numbers = torch.arange(len(rows), device=rows.device)
        same = rows[:, None] == rows
        embeddings = embeddings[torch.where(same, numbers, len(rows)).amin(1)]
        moved = self.momentum * self.embeddings[rows] + (1 - self.momentum) * embeddings
        self.embeddings.index_copy_(0, rows, F.normalize(moved, dim=1))

    def _normaliser(self, scores: Tensor, rows: Tensor, drawn: Tensor) -> Tensor:
        """ln Z: that of the first batch, kept from then on."""
        if self._known:
            return self.log_normaliser
        used = drawn.scatter_add(1, rows[:, None], torch.ones_like(drawn[:, :1]))
        mean = torch.logsumexp((scores + used.log()).flatten(), 0) - used.sum().log()
        fresh = mean + math.log(len(self.embeddings))
        if self.training:
            self.log_normaliser.copy_(fresh)
            self.normalised.fill_(True)
            self._known = True
        return fresh


def _initial(rows: int, width: int, *seed: int) -> Tensor:
    """Uniform embeddings [N, E], of length 1 on average, as in the authors' code."""
    generator = torch.Generator().manual_seed(seeded(*seed, rows))
    bound = math.sqrt(3 / width)
    return torch.empty(rows, width).uniform_(-bound, bound, generator=generator)


def _momentum(value: float) -> float:
    if not 0 <= value < 1:
        raise MethodError(
            f"Option momentum must be at least 0 and less than 1, not {value}.",
            "--set momentum=0.5",
        )
    return value
