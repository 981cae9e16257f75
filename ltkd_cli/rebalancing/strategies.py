"""From a finished head and features to a new head: post-hoc adjustment and re-training."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..events import Retrained
from ..models.head import Head
from ..training.features import FeatureSource
from .features import Features
from .posthoc import (
    GRID,
    MAX_LOGITS,
    Blocks,
    Sweep,
    correct_views,
    fitted_temperature,
    lengths_to,
    prior_to,
    sweep,
)
from .recipes import PRESETS, Retraining
from .retraining import (
    AfterEpoch,
    label_aware_smoothing,
    learn_scales,
    linear_like,
    retrain,
    smooth,
)

RETRAINED = tuple(PRESETS)
"""Classifier re-training: learns from all training images, for a fixed number of epochs."""

ADJUSTED = ("tau-norm", "logit-adjust")
"""Post-hoc adjustment: a strength, chosen on validation images unless it is given."""

STRATEGIES = (*RETRAINED, *ADJUSTED)


@dataclass(frozen=True)
class NewHead:
    """A head that a strategy made, and how it came about."""

    head: Head
    found: dict[str, Any]
    """What was chosen or learned, for run.json."""
    summary: str


def adjust_head(
    strategy: str,
    head: nn.Linear,
    validation: Features,
    class_counts: Tensor,
    strength: float | None,
) -> NewHead:
    """The head after a post-hoc adjustment; `head` stays as it is.

    `class_counts` int64 [C] are of the training images. Strength, where it is None, and
    temperature are chosen on the validation images.
    """
    if strategy == "tau-norm":
        return _tau_norm(head, validation, strength)
    return _logit_adjust(head, validation, class_counts, strength)


def chosen_by(strategy: str, strength: float | None) -> tuple[str, ...]:
    """What the strategy chooses on the validation images; nothing for a re-training."""
    open_strength = ("strength",) if strategy in ADJUSTED and strength is None else ()
    return (*open_strength, "temperature") if strategy == "logit-adjust" else open_strength


def retrain_head(
    strategy: str,
    head: Head,
    source: FeatureSource,
    class_counts: Tensor,
    how: Retraining,
    seed: int,
) -> Generator[Retrained | AfterEpoch, None, NewHead]:
    """The head after a re-training; `head` stays as it is, and is linear but for crt."""
    recipe = {"recipe": _as_json(how)}
    trained = f"{how.recipe.epochs:,} epochs of class-balanced sampling"
    if strategy == "crt":
        new = yield from retrain(head, source, how, seed)
        return NewHead(new, recipe, f"crt: a new classifier, {trained}")
    assert isinstance(head, nn.Linear)  # the caller refuses cosine heads
    if strategy == "lws":
        scaled, scales = yield from learn_scales(head, source, how, seed)
        words = "lws: "
    else:
        smoothing = label_aware_smoothing(class_counts, how.smooth_head, how.smooth_tail)
        scaled, scales = yield from smooth(head, source, how, smoothing, seed)
        words = f"mislas: smoothing from {how.smooth_head:g} to {how.smooth_tail:g}, "
    words += f"scales from {scales.min():.2f} to {scales.max():.2f}, {trained}"
    return NewHead(scaled, {**recipe, "scales": scales.tolist()}, words)


def correct_of(head: Head, features: Features) -> Tensor:
    """Share of each image's views that the head predicts correctly, float64 [R]."""
    blocks = _blocks(partial(_logits, head), features, len(head.weight))
    predicted = torch.cat([logits.argmax(1) for logits in blocks()])
    return correct_views(predicted, features.labels)


def _tau_norm(head: nn.Linear, validation: Features, strength: float | None) -> NewHead:
    weight = head.weight.detach().cpu()
    tried = None
    if strength is None:
        tried = sweep(
            _blocks(lambda features: F.linear(features, weight), validation, len(weight)),
            lambda unbiased, value: unbiased / lengths_to(weight, value),
            validation.labels,
        )
        strength = tried.chosen
    new = linear_like(
        head, weight / lengths_to(weight, strength)[:, None], torch.zeros(len(weight))
    )
    return NewHead(new, _found(strength, tried), f"tau-norm: {_choice(strength, tried)}; no bias")


def _logit_adjust(
    head: nn.Linear, validation: Features, class_counts: Tensor, strength: float | None
) -> NewHead:
    tried = None
    if strength is None:
        tried = sweep(
            _blocks(partial(_logits, head), validation, len(class_counts)),
            lambda logits, value: logits - prior_to(class_counts, value),
            validation.labels,
        )
        strength = tried.chosen
    prior = prior_to(class_counts, strength)
    adjusted = _blocks(
        lambda features: _logits(head, features) - prior, validation, len(class_counts)
    )
    temperature = fitted_temperature(adjusted, validation.labels_of_views())
    bias = head.bias.detach().cpu() - prior
    new = linear_like(head, head.weight / temperature, bias / temperature)
    found = _found(strength, tried) | {"temperature": temperature}
    words = f"logit-adjust: {_choice(strength, tried)}; temperature {temperature:.3g}"
    return NewHead(new, found, words)


def _blocks(layer: Callable[[Tensor], Tensor], features: Features, classes: int) -> Blocks:
    """What a layer makes [B, C] of all views in turn, computed anew whenever it is read."""
    parts = torch.split(features.flat(), max(1, MAX_LOGITS // classes))
    return lambda: map(layer, parts)


def _logits(head: Head, features: Tensor) -> Tensor:
    """Logits [B, C] on the CPU, without gradients."""
    with torch.inference_mode():
        logits: Tensor = head(features.to(head.weight.device))
        return logits.cpu()


def _as_json(how: Retraining) -> dict[str, Any]:
    """The recipe and what goes with it in one dictionary."""
    values = dataclasses.asdict(how)
    return {**values.pop("recipe"), **values}


def _found(strength: float, tried: Sweep | None) -> dict[str, Any]:
    curve = (
        [] if tried is None else [list(pair) for pair in zip(GRID, tried.accuracies, strict=True)]
    )
    return {"strength": strength, "curve": curve}


def _choice(strength: float, tried: Sweep | None) -> str:
    if tried is None:
        return f"strength {strength:g}, as given"
    if tried.tied == 1:
        return f"strength {strength:g}, the best of {len(GRID)}"
    return f"strength {strength:g}, the closest to 1 of {tried.tied} that are as good"
