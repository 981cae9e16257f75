"""Classifier re-training: a last layer anew, or its scales, on a backbone whose weights are fixed.

Those that train are generators that yield progress; what they trained is their return value.
They draw class-balanced, and follow from the seed alone.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Generator, Sequence

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


def retrain(
    head: Head, source: FeatureSource, how: Retraining, seed: int
) -> Generator[Retrained, None, Head]:
    """A new head like `head`, trained from the start by plain cross-entropy (cRT).

    It begins as PyTorch begins a linear layer. Raises Diverged where the weights do not stay
    finite.

    Source: Kang et al., ICLR 2020 (arXiv:1910.09217), classifier re-training.
    """
    fresh = copy.deepcopy(head)
    _initialise(fresh, seed)

    def logits_of(features: Tensor) -> Tensor:
        logits: Tensor = fresh(features)
        return logits

    yield from _fit([(1.0, [*fresh.parameters()])], logits_of, source, how, seed)
    return fresh


def learn_scales(
    head: Head, source: FeatureSource, how: Retraining, seed: int
) -> Generator[Retrained, None, Tensor]:
    """One factor for each class's logit [C] (LWS); the head itself stays as it is.

    The factors belong on the rows of its weight and on its bias. Errors as for `retrain`.

    Source: Kang et al., ICLR 2020 (arXiv:1910.09217), learnable weight scaling.
    """
    scales = torch.ones_like(head.weight[:, 0]).requires_grad_()

    def logits_of(features: Tensor) -> Tensor:
        with torch.no_grad():
            logits: Tensor = head(features)
        return scales * logits

    yield from _fit([(1.0, [scales])], logits_of, source, how, seed)
    return scales.detach()


def smooth(
    head: nn.Linear, source: FeatureSource, how: Retraining, smoothing: Tensor, seed: int
) -> Generator[Retrained, None, tuple[nn.Linear, Tensor]]:
    """A head trained on from `head` by label-aware smoothing, and its scales [C] (MiSLAS).

    `smoothing` [C] is how much of a label's mass goes to all classes alike. The scales multiply
    the logits, and belong on the rows of the new head's weight and on its bias. Errors as for
    `retrain`.

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
    yield from _fit(parts, logits_of, source, how, seed, loss)
    return fresh, scales.detach()


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
    source: FeatureSource,
    how: Retraining,
    seed: int,
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
) -> Generator[Retrained, None, None]:
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
    source.check_unchanged()
    if not all(bool(one.isfinite().all()) for _, tensors in trained for one in tensors):
        raise Diverged(
            "The classifier did not stay finite on the features of this network.",
            command("rebalance", "--strategy", "logit-adjust"),
        )
