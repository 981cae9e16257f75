"""The second stages: from a finished head and features of training images to a new head."""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..models.head import Head
from .posthoc import GRID, Sweep, fitted_temperature, hits, lengths_to, prior_to, sweep
from .retraining import (
    CRT,
    LWS,
    MISLAS,
    MISLAS_SMOOTHING,
    label_aware_smoothing,
    learned_scales,
    recipe_for,
    retrained,
    smoothed,
)

TRAINED = ("crt", "lws", "mislas")
"""Second stages that learn from all training images, for a fixed number of epochs."""

CHOSEN = ("tau-norm", "logit-adjust")
"""Second stages with a strength, chosen on validation images unless it is given."""

HOWS = (*TRAINED, *CHOSEN)


@dataclass(frozen=True)
class Seen:
    """Features [R, V, D], on the CPU, of V views of some training rows, and their labels [R]."""

    features: Tensor
    labels: Tensor

    def of(self, places: Tensor) -> Seen:
        """The same of some of the rows, by their places int64 [M]."""
        return Seen(self.features[places], self.labels[places])

    def flat(self) -> Tensor:
        """Features [R V, D], the views of an image one after the other."""
        return self.features.flatten(0, 1)

    def of_views(self) -> Tensor:
        """Labels [R V] of the same."""
        return self.labels.repeat_interleave(self.features.shape[1])


@dataclass(frozen=True)
class Stage:
    """A head that a second stage made, and how it came about."""

    head: Head
    found: dict[str, Any]
    """What was chosen or learned, for run.json."""
    words: str


def second_stage(
    how: str, head: Head, seen: Seen, class_counts: Tensor, strength: float | None, seed: int
) -> Stage:
    """The second stage `how` of a network that ends in `head`, which stays as it is.

    `seen` holds the training images for those that are TRAINED, and the validation images for
    tau-norm and logit-adjust. `class_counts` int64 [C] are of all training images.
    """
    if how == "crt":
        return _crt(head, seen, seed)
    assert isinstance(head, nn.Linear)  # the caller refuses cosine heads
    if how == "lws":
        return _lws(head, seen, seed)
    if how == "mislas":
        return _mislas(head, seen, class_counts, strength, seed)
    if how == "tau-norm":
        return _tau_norm(head, seen, strength)
    return _logit_adjust(head, seen, class_counts, strength)


def hits_of(head: Head, seen: Seen) -> Tensor:
    """Share of each image's views that the head gets right, float64 [R]."""
    return hits(_logits(head, seen.flat()), seen.labels)


def _crt(head: Head, seen: Seen, seed: int) -> Stage:
    recipe = recipe_for(CRT, len(seen.labels))
    new = retrained(head, seen.features, seen.labels, recipe, seed)
    words = f"a new classifier, {recipe.epochs:,} epochs of class-balanced sampling"
    return Stage(new, {"recipe": dataclasses.asdict(recipe)}, f"crt: {words}")


def _lws(head: nn.Linear, seen: Seen, seed: int) -> Stage:
    recipe = recipe_for(LWS, len(seen.labels))
    scales = learned_scales(head, seen.features, seen.labels, recipe, seed)
    new = _linear(head, head.weight * scales[:, None], head.bias * scales)
    words = (
        f"scales from {scales.min():.2f} to {scales.max():.2f}, {recipe.epochs:,} epochs of "
        "class-balanced sampling"
    )
    found = {"recipe": dataclasses.asdict(recipe), "scales": scales.tolist()}
    return Stage(new, found, f"lws: {words}")


def _mislas(
    head: nn.Linear, seen: Seen, class_counts: Tensor, strength: float | None, seed: int
) -> Stage:
    largest = MISLAS_SMOOTHING if strength is None else strength
    recipe = recipe_for(MISLAS, len(seen.labels))
    smoothing = label_aware_smoothing(class_counts, largest)
    trained, scales = smoothed(head, seen.features, seen.labels, recipe, smoothing, seed)
    new = _linear(head, trained.weight * scales[:, None], trained.bias * scales)
    words = (
        f"smoothing from {largest:g} to 0, scales from {scales.min():.2f} to {scales.max():.2f}, "
        f"{recipe.epochs:,} epochs of class-balanced sampling"
    )
    found = {
        "recipe": dataclasses.asdict(recipe), "strength": largest, "scales": scales.tolist()
    }  # fmt: skip
    return Stage(new, found, f"mislas: {words}")


def _tau_norm(head: nn.Linear, seen: Seen, strength: float | None) -> Stage:
    weight = head.weight.detach().cpu()
    unbiased = F.linear(seen.flat(), weight)
    tried = None
    if strength is None:
        tried = sweep(lambda value: unbiased / lengths_to(weight, value), seen.labels)
        strength = tried.chosen
    new = _linear(head, weight / lengths_to(weight, strength)[:, None], torch.zeros(len(weight)))
    return Stage(new, _found(strength, tried), f"tau-norm: {_choice(strength, tried)}; no bias")


def _logit_adjust(
    head: nn.Linear, seen: Seen, class_counts: Tensor, strength: float | None
) -> Stage:
    logits = _logits(head, seen.flat())
    tried = None
    if strength is None:
        tried = sweep(lambda value: logits - prior_to(class_counts, value), seen.labels)
        strength = tried.chosen
    prior = prior_to(class_counts, strength)
    temperature = fitted_temperature(logits - prior, seen.of_views())
    bias = head.bias.detach().cpu() - prior
    new = _linear(head, head.weight / temperature, bias / temperature)
    found = _found(strength, tried) | {"temperature": temperature}
    words = f"logit-adjust: {_choice(strength, tried)}; temperature {temperature:.3g}"
    return Stage(new, found, words)


def _logits(head: Head, features: Tensor) -> Tensor:
    """Logits [M, C] on the CPU, without gradients."""
    with torch.inference_mode():
        logits: Tensor = head(features.to(head.weight.device))
        return logits.cpu()


def _linear(like: nn.Linear, weight: Tensor, bias: Tensor) -> nn.Linear:
    new = copy.deepcopy(like)
    with torch.no_grad():
        new.weight.copy_(weight)
        new.bias.copy_(bias)
    return new


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
