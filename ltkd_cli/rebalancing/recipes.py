"""How classifiers are re-trained: the recipes of the sources, and a fast one on fixed features."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..errors import UsageError
from ..training.recipe import MAX_COUNT, Recipe

FAST = "fast"
"""The recipe that suits any set: features are computed once, and small sets get more epochs."""

MIN_BATCHES = 30
"""In an epoch of a fast recipe; smaller sets get more epochs, not a classifier left half-way."""

OF_SGD = ("epochs", "batch_size", "learning_rate", "weight_decay")
OF_MISLAS = ("smooth_head", "smooth_tail", "classifier_share")
"""Options that replace a field of a recipe."""


@dataclass(frozen=True)
class Retraining:
    """Everything that decides how a classifier is trained on top of a finished backbone."""

    recipe: Recipe
    """Its learning rate holds still within an epoch, as in the code of all sources."""
    first_epoch: int = 0
    """Where the first epoch stands on the schedule: 1 where the source steps it beforehand."""
    new_views: bool = True
    """Whether every epoch has new views, as in all sources; else a fixed number, computed once."""
    moving_statistics: bool = False
    """Whether batch normalisation takes up the statistics of the images that are drawn.

    The weights below the classifier stay as they are in either case.
    """
    classifier_share: float = 1.0
    """MiSLAS: learning rate of the classifier, as a share of that of the scales."""
    smooth_head: float = 0.0
    """MiSLAS: label smoothing of the largest class."""
    smooth_tail: float = 0.0
    """MiSLAS: label smoothing of the smallest class."""

    def learning_rate_in(self, epoch: int) -> float:
        """Learning rate of an epoch, counted from 0."""
        return self.recipe.learning_rate_at(epoch + self.first_epoch)


KANG = Retraining(
    Recipe(
        epochs=10, batch_size=512, learning_rate=0.2, weight_decay=5e-4, schedule="cosine",
        drop_last=True,
    ),
    first_epoch=1,
    moving_statistics=True,
)  # fmt: skip
"""cRT on ImageNet-LT (Kang et al., ICLR 2020, their code); LWS is the same with 5 epochs."""

BAG_OF_TRICKS = Retraining(
    Recipe(
        epochs=30, batch_size=128, learning_rate=0.1, weight_decay=5e-4, nesterov=True,
        milestones=(1 / 3, 2 / 3), decay=0.1, warmup_epochs=5, warmup_start=1 / 3,
        drop_last=True,
    ),
    first_epoch=1,
    moving_statistics=True,
)  # fmt: skip
"""cRT and LWS on CIFAR-LT in the code of Zhang et al., "Bag of Tricks for Long-Tailed Visual
Recognition with Deep Convolutional Neural Networks", AAAI 2021."""

MISLAS = Retraining(
    Recipe(epochs=10, batch_size=256, learning_rate=0.1, weight_decay=5e-4, schedule="cosine"),
    moving_statistics=True,
    classifier_share=0.05,
    smooth_head=0.3,
)
"""MiSLAS on ImageNet-LT (Zhong et al., CVPR 2021, their code)."""

MISLAS_CIFAR10 = replace(
    MISLAS,
    recipe=replace(MISLAS.recipe, batch_size=128, weight_decay=2e-4),
    moving_statistics=False,
    classifier_share=0.5,
)
"""On CIFAR-10-LT at imbalance 100, likewise."""

MISLAS_CIFAR100 = replace(
    MISLAS_CIFAR10, moving_statistics=True, classifier_share=0.2, smooth_head=0.4, smooth_tail=0.1
)
"""On CIFAR-100-LT at imbalance 100, likewise."""


def _fast(source: Retraining) -> Retraining:
    recipe = replace(source.recipe, drop_last=False)
    return replace(source, recipe=recipe, new_views=False, moving_statistics=False)


_LWS = replace(KANG, recipe=replace(KANG.recipe, epochs=5))

PRESETS: dict[str, dict[str, Retraining]] = {
    "crt": {FAST: _fast(KANG), "imagenet-lt": KANG, "bag-of-tricks": BAG_OF_TRICKS},
    "lws": {FAST: _fast(_LWS), "imagenet-lt": _LWS, "bag-of-tricks": BAG_OF_TRICKS},
    "mislas": {
        FAST: _fast(MISLAS),
        "imagenet-lt": MISLAS,
        "cifar10-lt": MISLAS_CIFAR10,
        "cifar10-lt-50": replace(MISLAS_CIFAR10, smooth_head=0.2, classifier_share=0.2),
        "cifar10-lt-10": replace(MISLAS_CIFAR10, smooth_head=0.1, classifier_share=0.2),
        "cifar100-lt": MISLAS_CIFAR100,
        "cifar100-lt-50": replace(
            MISLAS_CIFAR100, smooth_head=0.3, smooth_tail=0.0, classifier_share=0.1
        ),
        "cifar100-lt-10": replace(
            MISLAS_CIFAR100, smooth_head=0.2, smooth_tail=0.0, classifier_share=0.1
        ),
    },
}
"""By strategy and name; a number at its end is an imbalance, without one it is 100."""


def default_preset(strategy: str, data: str, imbalance: float | None) -> str:
    """Name of the recipe for an image set: the source's for that very set, else the fast one.

    An imbalance that the source has no recipe for gets that of 100.
    """
    known = PRESETS[strategy]
    own = f"{data}-{imbalance:g}" if imbalance else data
    return next((name for name in (own, data) if name in known), FAST)


def resolve(strategy: str, preset: str, given: Mapping[str, Any], rows: int) -> Retraining:
    """The preset for a training set of `rows` images, with the given fields replaced, checked.

    A fast recipe gets more epochs where the set makes few batches, unless epochs are given.
    UsageError where the strategy has no such preset or a value does not fit.
    """
    known = PRESETS[strategy]
    if preset not in known:
        raise UsageError(
            f"There is no recipe {preset!r} for {strategy}; there are {', '.join(known)}.",
            f"--recipe {FAST}",
        )
    found = known[preset]
    recipe = replace(found.recipe, **{n: given[n] for n in OF_SGD if given.get(n) is not None})
    found = replace(found, **{n: given[n] for n in OF_MISLAS if given.get(n) is not None})
    found = replace(found, recipe=recipe)
    _check(found)
    if preset == FAST and given.get("epochs") is None:
        found = replace(found, recipe=replace(recipe, epochs=_enough_epochs(recipe, rows)))
    if not found.learning_rate_in(0):
        raise UsageError(
            f"The last epoch of recipe {preset} has a learning rate of 0, as in its source, and "
            "there is no other.",
            "--epochs 2",
        )
    return found


def _enough_epochs(recipe: Recipe, rows: int) -> int:
    batches = math.ceil(rows / recipe.batch_size)
    return math.ceil(recipe.epochs * max(1, MIN_BATCHES / batches))


def _check(found: Retraining) -> None:
    recipe = found.recipe
    for name in ("epochs", "batch_size"):
        value = getattr(recipe, name)
        _require(1 <= value <= MAX_COUNT, name, f"is from 1 to {MAX_COUNT:,}, not {value}", "10")
    _require(0 < recipe.learning_rate < math.inf, "learning_rate", "is a number above 0", "0.1")
    _require(0 <= recipe.weight_decay < math.inf, "weight_decay", "is not negative", "5e-4")
    for name in ("smooth_head", "smooth_tail"):
        value = getattr(found, name)
        _require(0 <= value < 1, name, f"is from 0 to less than 1, not {value:g}", "0.3")
    share = found.classifier_share
    _require(0 < share <= 1, "classifier_share", f"is above 0 and up to 1, not {share:g}", "0.5")


def _require(holds: bool, name: str, rule: str, example: str) -> None:
    if not holds:
        option = "--" + name.replace("_", "-")
        raise UsageError(f"{option} {rule}.", f"{option} {example}")
