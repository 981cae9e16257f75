"""Second stages that train: a last layer anew, or its scales, from features that stand still."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import Diverged
from ..models.head import Head
from ..training.recipe import Recipe
from ..training.sampling import draw_epoch

CRT = Recipe(
    epochs=10, batch_size=512, learning_rate=0.2, weight_decay=5e-4, schedule="cosine"
)  # fmt: skip
"""Kang et al., their code for ImageNet-LT."""

LWS = replace(CRT, epochs=5)
"""The same for the scales of the classes."""

MISLAS = CRT
"""Zhong et al. train as long, and with the same weight decay."""

MISLAS_SHARE = 0.1
"""Of the learning rate, for the classifier; the scales get all of it. The source: 0.05 to 0.5."""

MISLAS_SMOOTHING = 0.3
"""Smoothing of the largest class; the smallest has none."""

MIN_BATCHES = 30
"""In an epoch of these recipes; smaller sets get more epochs, not a classifier left half-way."""


def recipe_for(recipe: Recipe, rows: int) -> Recipe:
    """The recipe with more epochs where `rows` training images make few batches an epoch."""
    batches = math.ceil(rows / recipe.batch_size)
    return replace(recipe, epochs=math.ceil(recipe.epochs * max(1, MIN_BATCHES / batches)))


def retrained(head: Head, features: Tensor, labels: Tensor, recipe: Recipe, seed: int) -> Head:
    """A new head like `head`, trained from the start with class-balanced sampling (cRT).

    `features` [N, V, D] are those of V views of every training image, `labels` [N]; the
    features may be on another device than the head. Plain cross-entropy. Raises Diverged
    where the weights do not stay finite.

    Source: Kang et al., ICLR 2020 (arXiv:1910.09217), classifier re-training. The layers
    below stand still with all their statistics.
    """
    fresh = copy.deepcopy(head)
    generator = torch.Generator().manual_seed(seed)
    weight = nn.init.kaiming_normal_(torch.empty(head.weight.shape), generator=generator)
    with torch.no_grad():
        fresh.weight.copy_(weight)
        if isinstance(fresh, nn.Linear):
            fresh.bias.zero_()
    device = fresh.weight.device

    def logits_of(rows: Tensor, views: Tensor) -> Tensor:
        logits: Tensor = fresh(features[rows, views].to(device))
        return logits

    _fit({1.0: list(fresh.parameters())}, logits_of, labels, features.shape[1], recipe, seed)
    return fresh


def learned_scales(
    head: Head, features: Tensor, labels: Tensor, recipe: Recipe, seed: int
) -> Tensor:
    """One factor for each class's logit [C], learned with class-balanced sampling (LWS).

    Arguments and errors as for `retrained`; the head itself stands still. The factors belong
    on the rows of its weight and on its bias.

    Source: Kang et al., ICLR 2020 (arXiv:1910.09217), learnable weight scaling.
    """
    scales = torch.ones_like(head.weight[:, 0]).requires_grad_()

    def logits_of(rows: Tensor, views: Tensor) -> Tensor:
        with torch.no_grad():
            logits: Tensor = head(features[rows, views].to(scales.device))
        return scales * logits

    _fit({1.0: [scales]}, logits_of, labels, features.shape[1], recipe, seed)
    return scales.detach()


def smoothed(
    head: nn.Linear,
    features: Tensor,
    labels: Tensor,
    recipe: Recipe,
    smoothing: Tensor,
    seed: int,
) -> tuple[nn.Linear, Tensor]:
    """A head trained on from `head` by label-aware smoothing, and its scales [C] (MiSLAS).

    Arguments and errors as for `retrained`; `smoothing` [C] is how much of a label's mass
    goes to all classes alike. The scales multiply the logits, and belong on the rows of the
    new head's weight and on its bias.

    Source: Zhong et al., "Improving Calibration for Long-Tailed Recognition", CVPR 2021
    (arXiv:2104.00466), the second stage. Theirs lets batch normalisation count on while the
    features are computed anew; here the features stand still.
    """
    fresh = copy.deepcopy(head)
    device = fresh.weight.device
    scales = torch.ones_like(head.weight[:, 0]).requires_grad_()
    smoothing = smoothing.to(device, fresh.weight.dtype)

    def logits_of(rows: Tensor, views: Tensor) -> Tensor:
        logits: Tensor = scales * fresh(features[rows, views].to(device))
        return logits

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return smoothed_cross_entropy(logits, labels, smoothing[labels])

    trained: dict[float, list[Tensor]] = {1.0: [scales], MISLAS_SHARE: [*fresh.parameters()]}
    _fit(trained, logits_of, labels, features.shape[1], recipe, seed, loss)
    return fresh, scales.detach()


def label_aware_smoothing(class_counts: Tensor, largest: float) -> Tensor:
    """Smoothing of each class [C], from 0 for the smallest to `largest` for the largest.

    largest sin(pi (n_c - n_min) / (2 (n_max - n_min))), the concave form of the source; all 0
    where every class has as many images.
    """
    counts = class_counts.double()
    span = (counts.max() - counts.min()).clamp(min=1)
    return largest * torch.sin(math.pi / 2 * (counts - counts.min()) / span)


def smoothed_cross_entropy(logits: Tensor, labels: Tensor, smoothing: Tensor) -> Tensor:
    """Mean of (1 - e) (-ln q_y) + e times the mean of -ln q over all classes; e [B] of each image.

    Logits [B, C], labels [B] -> scalar.
    """
    log_probabilities = logits.log_softmax(1)
    own = log_probabilities.gather(1, labels[:, None])[:, 0]
    return -((1 - smoothing) * own + smoothing * log_probabilities.mean(1)).mean()


def _fit(
    trained: Mapping[float, Sequence[Tensor]],
    logits_of: Callable[[Tensor, Tensor], Tensor],
    labels: Tensor,
    views: int,
    recipe: Recipe,
    seed: int,
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
) -> None:
    """Trains on what `logits_of(rows, views)` says, drawing class-balanced.

    `trained` holds the tensors to train by their share of the recipe's learning rate.
    """
    optimizer = torch.optim.SGD(
        [{"params": tensors, "share": share} for share, tensors in trained.items()],
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
    )
    limit = torch.full_like(labels, views)
    batches = math.ceil(len(labels) / recipe.batch_size)
    for epoch in range(recipe.epochs):
        draws = draw_epoch(labels, "class-balanced", seed, epoch, limit)
        parts = [torch.split(drawn, recipe.batch_size) for drawn in (draws.rows, draws.views)]
        for step, (rows, seen) in enumerate(zip(*parts, strict=True)):
            for group in optimizer.param_groups:
                group["lr"] = group["share"] * recipe.learning_rate_at(epoch + step / batches)
            logits = logits_of(rows, seen)
            optimizer.zero_grad()
            torch.autograd.backward(loss(logits, labels[rows].to(logits.device)))
            optimizer.step()
    if not all(bool(one.isfinite().all()) for tensors in trained.values() for one in tensors):
        raise Diverged(
            "The second stage did not stay finite on the features of this network.",
            "ltkd rebalance --how logit-adjust",
        )
