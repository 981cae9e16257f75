"""Post-hoc adjustment: strength and temperature, and what they are chosen by.

Logits of the validation images are read in blocks of at most MAX_LOGITS, and of each view only
predictions and two numbers are kept. So a choice needs less than 1 GiB beside the features and the
head, however many images and classes there are. Only time grows with them: the logits are computed
once for the strength, and about ten times for the temperature. Up to MAX_LOGITS there is one block;
with more, logits may differ by rounding from those of a single matrix product.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..methods.losses import log_prior
from ..rng import counter_hash

GRID = tuple(step / 10 for step in range(21))
"""Strengths from 0 to 2 that a choice is made from (Kang et al., their code)."""

SOURCE_STRENGTH = 1.0
"""Unit weights in tau-normalisation, the rule of least balanced error in logit adjustment."""

MAX_TEMPERATURE = 100.0
"""Temperature at which a network that knows nothing is given up on."""

MAX_VALIDATION_LOGITS = 2**27
"""Beyond it classes give fewer images, which takes less time; memory is bounded by MAX_LOGITS."""

MAX_LOGITS = 2**24
"""Of a block: 128 MiB in float64, and fitting a temperature holds about four times as much."""

MAX_VALIDATION_IMAGES = 100
"""Of a class, unless told otherwise."""

_VALIDATION = 0x5EED  # a stream of its own, apart from those of the training's draws
_ROUNDING = 1e-9
_TOLERANCE = 1e-12
_MAX_STEPS = 60  # as many halvings leave nothing of the range

Blocks = Callable[[], Iterable[Tensor]]
"""Reads logits float [B, C] of all views of all images in their order, block by block."""


@dataclass(frozen=True)
class Sweep:
    """The class-balanced validation accuracy at every strength of GRID, and what was chosen."""

    accuracies: tuple[float, ...]
    """In [0, 1], in the order of GRID."""
    chosen: float
    """Of the strengths that are as good as the best, the one closest to SOURCE_STRENGTH."""
    tied: int
    """How many strengths are as good as the best."""


def validation_images(classes: int, views: int) -> int:
    """Images of each class to choose on: 100, or as many as keep the time in bounds, at least 1."""
    fitting = MAX_VALIDATION_LOGITS // (classes * classes * views)
    return max(1, min(MAX_VALIDATION_IMAGES, fitting))


def validation_rows(labels: Tensor, per_class: int, seed: int) -> Tensor:
    """Rows of at most `per_class` images of each class, int64 [M], ascending.

    `labels` int64 [N]; the seed decides which images of a class, and nothing else does.
    """
    shuffled = torch.argsort(counter_hash(seed, _VALIDATION, torch.arange(len(labels))))
    by_class = shuffled[torch.argsort(labels[shuffled], stable=True)]
    counts = torch.bincount(labels)
    begin = (counts.cumsum(0) - counts)[labels[by_class]]
    place = torch.arange(len(labels)) - begin
    return by_class[place < per_class].sort().values


def correct_views(predicted: Tensor, labels: Tensor) -> Tensor:
    """Share of each image's views that are predicted correctly, float64 [M].

    Predicted classes int64 [M V] hold the views of an image one after the other, labels [M].
    """
    correct = predicted.reshape(len(labels), -1) == labels[:, None]
    return correct.double().mean(1)


def balanced_accuracy(correct: Tensor, labels: Tensor) -> float:
    """Mean over the classes present of their accuracy, in [0, 1]; correct views and labels [M]."""
    return float(correct @ _balancing_weights(labels))


def is_better(correct: Tensor, other: Tensor, labels: Tensor) -> bool:
    """Whether `correct` [M] beats `other` [M] by more than one standard error of the difference.

    The images are the same, so only those that differ count: McNemar's test with images
    weighted so that classes count equally. One image alone makes no difference.

    Source: McNemar, "Note on the sampling error of the difference between correlated
    proportions or percentages", Psychometrika, 1947; one standard error as in Breiman et
    al., "Classification and Regression Trees", 1984. The class weights are ours.
    """
    gains = _balancing_weights(labels) * (correct - other)
    return float(gains.sum()) > float(gains.norm()) * (1 + _ROUNDING)


def balanced_nll(logits: Tensor, labels: Tensor) -> float:
    """Mean over the classes present of their negative log-likelihood, in nats."""
    nll = F.cross_entropy(logits.double(), labels, reduction="none")
    return float(nll @ _balancing_weights(labels))


def sweep(blocks: Blocks, adjust: Callable[[Tensor, float], Tensor], labels: Tensor) -> Sweep:
    """Tries every strength of GRID in one pass over the logits; validation labels [M].

    `adjust(logits, strength)` gives a block's logits [B, C] at a strength. Strengths that the
    best does not beat (`is_better`) are as good as it. Images that the network was trained on
    often cannot tell many strengths apart; the source's own then wins.
    """
    predicted = [
        torch.stack([adjust(logits, strength).argmax(1) for strength in GRID])
        for logits in blocks()
    ]
    tried = [correct_views(each, labels) for each in torch.cat(predicted, 1)]
    accuracies = tuple(balanced_accuracy(each, labels) for each in tried)
    best = tried[accuracies.index(max(accuracies))]
    tied = [s for s, each in zip(GRID, tried, strict=True) if not is_better(best, each, labels)]
    chosen = min(tied, key=lambda strength: abs(strength - SOURCE_STRENGTH))
    return Sweep(accuracies, chosen, len(tied))


def lengths_to(weight: Tensor, strength: float) -> Tensor:
    """Lengths of class weights [C, D] to the power of `strength` (tau), [C]; 1 for length 0.

    Tau-normalisation divides each class's weights by it and drops the bias. Strength 0 leaves
    the weights, 1 gives all the same length.

    Source: Kang et al., "Decoupling Representation and Classifier for Long-Tailed
    Recognition", ICLR 2020 (arXiv:1910.09217).
    """
    lengths = weight.norm(dim=1)
    return torch.where(lengths > 0, lengths, 1.0) ** strength


def prior_to(class_counts: Tensor, strength: float) -> Tensor:
    """`strength` (tau) times ln of the classes' shares of the training images, [C].

    Logit adjustment subtracts it from the logits, and so from the bias of the last layer.

    Source: Menon et al., "Long-tail learning via logit adjustment", ICLR 2021
    (arXiv:2007.07314), the post-hoc form; strength 1 is consistent with balanced error.
    """
    return strength * log_prior(class_counts)


def fitted_temperature(blocks: Blocks, labels: Tensor) -> float:
    """Temperature in [1, 100] with the smallest `balanced_nll` of logits / temperature.

    `labels` [M V] are those of the logits. Never below 1: images that the network was trained on
    would ask for sharper and sharper probabilities, and nothing would stop them. The loss is
    convex in 1 / temperature; where its slope is 0 is found by Newton's method, which halves the
    range where a step would leave it.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017
    (arXiv:1706.04599); the class-balanced mean and the bound are ours.
    """
    weights = _balancing_weights(labels)

    def derivatives(inverse: float) -> tuple[float, float]:
        """Slope and curvature of the loss at 1 / temperature."""
        parts, begin = [], 0
        for logits in blocks():
            own = labels[begin : begin + len(logits)]
            parts.append(_derivatives(logits.double(), own, inverse))
            begin += len(logits)
        slope, curvature = torch.cat(parts, 1) @ weights
        return float(slope), float(curvature)

    low, high = 1 / MAX_TEMPERATURE, 1.0
    if derivatives(high)[0] <= 0:
        return 1.0
    inverse = low
    for _ in range(_MAX_STEPS):
        slope, curvature = derivatives(inverse)
        low, high = (inverse, high) if slope < 0 else (low, inverse)
        step = slope / curvature if curvature else math.inf
        if min(abs(step), high - low) <= _TOLERANCE * inverse:
            break
        inverse -= step
        if not low < inverse < high:
            inverse = (low + high) / 2
    return 1 / inverse


def _derivatives(logits: Tensor, labels: Tensor, inverse: float) -> Tensor:
    """First and second derivative [2, B] of each negative log-likelihood by 1 / temperature.

    They are the mean of the logits float64 [B, C] less that of the label, and their variance.
    """
    probabilities = (inverse * logits).softmax(1)
    mean = (probabilities * logits).sum(1, keepdim=True)
    variance = (logits - mean).square_().mul_(probabilities).sum(1)
    return torch.stack([(mean - logits.gather(1, labels[:, None]))[:, 0], variance])


def _balancing_weights(labels: Tensor) -> Tensor:
    """Weights float64 [M] that sum to 1 over the images, and equally over the classes present."""
    images = torch.bincount(labels)
    return 1 / (images[labels].double() * int((images > 0).sum()))
