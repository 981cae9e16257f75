"""Building blocks that several methods share: priors, class weights, divergences, option checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import MethodError
from .contract import Batch

STANDARDISE_EPSILON = 1e-7
"""Keeps logits that are all equal finite when they are divided by their spread."""

Normaliser = Literal["batch-size", "batch-weights"]
"""What a weighted cross-entropy's sum over a batch is divided by: B, or its weights' sum."""


def log_prior(class_counts: Tensor) -> Tensor:
    """Natural logarithm of every class's share of the training images, float32 [C].

    A class without images counts as one with a single image, so that it stays finite.
    """
    counts = class_counts.clamp(min=1).double()
    return (counts / counts.sum()).log().float()


def effective_number_weights(class_counts: Tensor, beta: float) -> Tensor:
    """Class weights (1 - beta) / (1 - beta^n_c) with a mean of 1; float32 [C].

    `beta` 0 gives ones; towards 1 the weights become proportional to 1 / n_c. A class
    without images, such as those that an expert does not learn, has the weight of one with a
    single image and no part in the mean. MethodError unless 0 <= beta < 1.

    Source: Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019
    (arXiv:1901.05555).
    """
    if not 0 <= beta < 1:
        raise MethodError(
            f"Option beta must be at least 0 and less than 1, not {beta}.", "--set beta=0.9999"
        )
    log_beta = torch.tensor(beta - 1, dtype=torch.float64, device=class_counts.device).log1p()
    weights = -1 / torch.expm1(class_counts.clamp(min=1).double() * log_beta)
    return (weights / weights[class_counts > 0].mean()).float()


def deferred(class_weights: Tensor, progress: Tensor, from_progress: float) -> Tensor:
    """The class weights [C] once `progress` has reached `from_progress`, ones before.

    `progress` is a scalar tensor: the choice is made on its device, without waiting for it.
    """
    return torch.where(progress >= from_progress, class_weights, torch.ones_like(class_weights))


def relative_entropy(
    teacher_log_probabilities: Tensor, student_log_probabilities: Tensor
) -> Tensor:
    """KL(teacher || student) of every row, in nats: [B, C], [B, C] -> [B].

    Both arguments are logarithms and finite; a probability that underflows to 0 adds 0.
    """
    difference = teacher_log_probabilities - student_log_probabilities
    return (teacher_log_probabilities.exp() * difference).sum(1)


def divergence(teacher_logits: Tensor, student_logits: Tensor, temperature: float) -> Tensor:
    """KL(softmax(teacher / temperature) || softmax(student / temperature)), a scalar in nats.

    Sum over classes, mean over samples: [B, C], [B, C] -> []. Not multiplied by the squared
    temperature: methods that want gradients of the same size at every temperature do that.

    Source: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015
    (arXiv:1503.02531).
    """
    return relative_entropy(
        (teacher_logits / temperature).log_softmax(1), (student_logits / temperature).log_softmax(1)
    ).mean()


def standardise(logits: Tensor) -> Tensor:
    """Logits [B, C] with mean 0 and (unbiased) standard deviation 1 in every row.

    Source: Sun et al., "Logit Standardization in Knowledge Distillation", CVPR 2024
    (arXiv:2403.01427).
    """
    spread = logits.std(1, keepdim=True)
    return (logits - logits.mean(1, keepdim=True)) / (spread + STANDARDISE_EPSILON)


def label_mean(losses: Callable[[Tensor], Tensor], batch: Batch) -> Tensor:
    """Mean over images of their labels' losses, a scalar; `losses` gives [B] for labels [B].

    Of a mixture it is s l(y) + (1 - s) l(y'), of both labels, weighted by the mixing coefficient.
    """
    (mean,) = label_means(lambda labels: (losses(labels),), batch)
    return mean


def label_means(losses: Callable[[Tensor], tuple[Tensor, ...]], batch: Batch) -> tuple[Tensor, ...]:
    """The same for several losses [B] that are computed together."""
    own = losses(batch.labels)
    means = tuple(each.mean() for each in own)
    if batch.partners is None:
        return means
    theirs, rest = losses(batch.partners.labels), 1 - batch.partners.shares
    changes = [rest * (other - each) for each, other in zip(own, theirs, strict=True)]
    return tuple(mean + change.mean() for mean, change in zip(means, changes, strict=True))


def cross_entropy(logits: Tensor, batch: Batch, label_smoothing: float = 0.0) -> Tensor:
    """Mean over images of CE(z, y), from logits z [B, C]; a scalar.

    Of a mixture it is that of both labels, weighted likewise, as for `label_mean`.

    Source: of mixtures, Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018
    (arXiv:1710.09412).
    """
    mean = F.cross_entropy(logits, batch.labels, label_smoothing=label_smoothing)
    if batch.partners is None:
        return mean
    own, theirs = (
        F.cross_entropy(logits, labels, reduction="none", label_smoothing=label_smoothing)
        for labels in (batch.labels, batch.partners.labels)
    )
    return mean + ((1 - batch.partners.shares) * (theirs - own)).mean()


def weighted_cross_entropy(
    logits_for: Callable[[Tensor], Tensor], batch: Batch, weights: Tensor, normalise_by: str
) -> Tensor:
    """Sum over images of w_y CE(z, y), divided as `normalise_by` names it; a scalar.

    `batch-size` divides by B, `batch-weights` by the sum of the batch's w_y. The class weights
    are [C]; `logits_for` gives logits [B, C], which may depend on the labels [B]. A mixture
    counts as an image of either label, by the mixing coefficient, in both sums.
    """

    def losses(labels: Tensor) -> Tensor:
        return weights[labels] * F.cross_entropy(logits_for(labels), labels, reduction="none")

    if normalise_by == "batch-size":
        return label_mean(losses, batch)
    labels, partners = batch.labels, batch.partners
    mean = F.cross_entropy(logits_for(labels), labels, weight=weights)
    if partners is None:
        return mean
    # (N + n) / (W + w) in the form N / W + ..., so that shares of 1 leave N / W bit for bit.
    rest, own = 1 - partners.shares, weights[labels]
    added_losses = rest * (losses(partners.labels) - losses(labels))
    added_weights = rest * (weights[partners.labels] - own)
    added = (added_losses - mean * added_weights).sum()
    return mean + added / (own + added_weights).sum()


def positive(option: str, value: float) -> float:
    """`value`; MethodError unless it is above 0 and of a size that float32 can square."""
    if not 0 < value < 1e18:
        raise MethodError(
            f"Option {option} must be above 0 and below 1e18, not {value}.", f"--set {option}=1"
        )
    return value


def not_negative(option: str, value: float) -> float:
    """`value`; MethodError unless it is 0 or more."""
    if not value >= 0:
        raise MethodError(f"Option {option} must be 0 or more, not {value}.", f"--set {option}=1")
    return value


def one_of(option: str, value: str, choices: tuple[str, ...]) -> str:
    """`value`; MethodError unless it is one of the choices."""
    if value not in choices:
        raise MethodError(
            f"Option {option} takes {' or '.join(choices)}, not {value!r}.",
            f"--set {option}={choices[0]}",
        )
    return value


def share(option: str, value: float) -> float:
    """`value`; MethodError unless it lies in [0, 1]."""
    if not 0 <= value <= 1:
        raise MethodError(
            f"Option {option} must lie between 0 and 1, not {value}.", f"--set {option}=0.5"
        )
    return value
