"""Classifier re-training: a last layer anew, or its scales, on a backbone whose weights are fixed.

Those that train are generators that yield progress, and the classifier after every epoch; what
they trained is their return value. They draw class-balanced, and follow from the seed alone.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import Diverged, command
from ..events import Retrained
from ..models.head import CosineHead, Head
from ..training.features import FeatureSource, requests_of
from ..training.sampling import draw_epoch, whole_batches
from ..views.draws import send
from .recipes import Retraining


@dataclass(frozen=True)
class AfterEpoch:
    """A classifier at the end of an epoch of its re-training."""

    epoch: int
    """Epochs that are done."""
    head: Callable[[], Head]
    """What it is by then; to be asked before the next epoch begins."""


def retrain(
    head: Head, source: FeatureSource, how: Retraining, seed: int
) -> Generator[Retrained | AfterEpoch, None, Head]:
    """A new head like `head`, trained from the start by plain cross-entropy (cRT).

    It begins as PyTorch begins a linear layer. Raises Diverged where the weights do not stay
    finite.

    Source: Kang et al., ICLR 2020 (arXiv:1910.09217), classifier re-training.
    """
    fresh = copy.deepcopy(head)
    _initialise(fresh, seed)
    yield from _fit([(1.0, [*fresh.parameters()])], fresh, lambda: fresh, source, how, seed)
    return fresh


def learn_scales(
    head: nn.Linear, source: FeatureSource, how: Retraining, seed: int
) -> Generator[Retrained | AfterEpoch, None, tuple[nn.Linear, Tensor]]:
    """The head with one factor for each class's logit, and these factors [C] (LWS).

    `head` itself stays as it is. Errors as for `retrain`.

    Source: Kang et al., ICLR 2020 (arXiv:1910.09217), learnable weight scaling.
    """
    scales = torch.ones_like(head.weight[:, 0]).requires_grad_()

    def logits_of(features: Tensor) -> Tensor:
        with torch.no_grad():
            logits: Tensor = head(features)
        return scales * logits

    scaled = partial(scaled_by, scales, head)
    yield from _fit([(1.0, [scales])], logits_of, scaled, source, how, seed)
    return scaled(), scales.detach()


def smooth(
    head: nn.Linear, source: FeatureSource, how: Retraining, smoothing: Tensor, seed: int
) -> Generator[Retrained | AfterEpoch, None, tuple[nn.Linear, Tensor]]:
    """`head` trained on by label-aware smoothing, with scales, and these scales [C] (MiSLAS).

    `smoothing` [C] is how much of a label's mass goes to all classes alike. The scales multiply
    the logits. Errors as for `retrain`.

    Source: Zhong et al., "Improving Calibration for Long-Tailed Recognition", CVPR 2021
    (arXiv:2104.00466), stage 2.
    """
    fresh = copy.deepcopy(head)
    scales = torch.ones_like(head.weight[:, 0]).requires_grad_()
    smoothing = smoothing.to(fresh.weight.device, fresh.weight.dtype)

    def logits_of(features: Tensor) -> Tensor:
        logits: Tensor = scales * fresh(features)
        return logits

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return smoothed_cross_entropy(logits, labels, smoothing[labels])

    parts: list[tuple[float, list[Tensor]]]
    parts = [(1.0, [scales]), (how.classifier_share, [*fresh.parameters()])]
    scaled = partial(scaled_by, scales, fresh)
    yield from _fit(parts, logits_of, scaled, source, how, seed, loss)
    return scaled(), scales.detach()


def scaled_by(scales: Tensor, head: nn.Linear) -> nn.Linear:
    """A copy of a head whose logits are `scales` [C] times those of `head`."""
    return linear_like(head, head.weight * scales[:, None], head.bias * scales)


def linear_like(head: nn.Linear, weight: Tensor, bias: Tensor) -> nn.Linear:
    """A copy of a head with other weights [C, D] and biases [C]."""
    new = copy.deepcopy(head)
    with torch.no_grad():
        new.weight.copy_(weight)
        new.bias.copy_(bias)
    return new


def label_aware_smoothing(class_counts: Tensor, head: float, tail: float = 0.0) -> Tensor:
    """Smoothing of each class [C], from `tail` for the smallest to `head` for the largest.

    tail + (head - tail) sin(pi (n_c - n_min) / (2 (n_max - n_min))), the concave form of the
    source; `tail` everywhere where every class has as many images.
    """
    counts = class_counts.double()
    span = (counts.max() - counts.min()).clamp(min=1)
    return tail + (head - tail) * torch.sin(math.pi / 2 * (counts - counts.min()) / span)


def smoothed_cross_entropy(logits: Tensor, labels: Tensor, smoothing: Tensor) -> Tensor:
    """Mean of (1 - e) (-ln q_y) + e times the mean of -ln q over all classes; e [B] of each image.

    Logits [B, C], labels [B] -> scalar.
    """
    log_probabilities = logits.log_softmax(1)
    own = log_probabilities.gather(1, labels[:, None])[:, 0]
    return -((1 - smoothing) * own + smoothing * log_probabilities.mean(1)).mean()


def _initialise(head: Head, seed: int) -> None:
    """New weights that depend on the seed alone: nn.Linear's, or those of a cosine head."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        if isinstance(head, CosineHead):
            head.weight.copy_(nn.init.xavier_uniform_(torch.empty(head.weight.shape), 1, generator))
            return
        bound = 1 / math.sqrt(head.in_features)
        for parameter in (head.weight, head.bias):
            values = torch.empty(parameter.shape).uniform_(-bound, bound, generator=generator)
            parameter.copy_(values)


def _fit(
    trained: Sequence[tuple[float, list[Tensor]]],
    logits_of: Callable[[Tensor], Tensor],
    head: Callable[[], Head],
    source: FeatureSource,
    how: Retraining,
    seed: int,
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
) -> Generator[Retrained | AfterEpoch, None, None]:
    """Trains on the logits of features, drawing class-balanced.

    `trained` holds the tensors to train, each list after its share of the learning rate.
    """
    recipe, labels = how.recipe, source.labels
    device = trained[0][1][0].device
    optimizer = torch.optim.SGD(
        [{"params": tensors, "share": share} for share, tensors in trained],
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
    )
    size = recipe.batch_size
    limit = None if source.views is None else torch.full_like(labels, source.views)
    for epoch in range(recipe.epochs):
        for group in optimizer.param_groups:
            group["lr"] = group["share"] * how.learning_rate_in(epoch)
        drawn = draw_epoch(labels, "class-balanced", seed, epoch, limit)
        if recipe.drop_last:
            drawn = whole_batches(drawn, size)
        requests, done = requests_of(drawn, size), epoch * len(labels)
        for (rows, _), features in zip(requests, source.of(requests), strict=True):
            logits = logits_of(send(features, device))
            optimizer.zero_grad()
            torch.autograd.backward(loss(logits, send(labels[rows], device)))
            optimizer.step()
            done += len(rows)
            yield Retrained(done, recipe.epochs * len(labels))
        if not all(bool(one.isfinite().all()) for _, tensors in trained for one in tensors):
            raise Diverged(
                "The classifier did not stay finite on the features of this network.",
                command("rebalance", "--strategy", "logit-adjust"),
            )
        yield AfterEpoch(epoch + 1, head)
    source.check_unchanged()
