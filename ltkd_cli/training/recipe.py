"""How a network is trained: the optimiser's settings, with the presets of the papers."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Annotated, Any

from ..errors import UsageError, command

MIXING = ("mixup", "cutmix")
"""Fields that stand for steps of the view policy. The settings of a run have the steps there and
0 here; where they have more, version 0.1 mixed the images of each batch with one another."""

SCHEDULES = ("step", "cosine", "constant")
OPTIMIZERS = ("sgd", "adamw")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides how weights move; each field is also an option of that name."""

    epochs: Annotated[int, "passes over as many images as the training set has"]
    batch_size: Annotated[int, "images in a batch"] = 128
    drop_last: Annotated[bool, "leave out the last images of an epoch if they fill no batch"] = (
        False
    )
    optimizer: Annotated[str, "the optimiser: sgd, or adamw for transformers"] = "sgd"
    learning_rate: Annotated[float, "highest learning rate"] = 0.1
    momentum: Annotated[float, "momentum of sgd, beta1 of adamw (its beta2 is 0.999)"] = 0.9
    nesterov: Annotated[bool, "Nesterov's momentum, in sgd"] = False
    weight_decay: Annotated[
        float, "weight decay: of every parameter in sgd, in adamw not of norms and biases"
    ] = 2e-4
    layer_decay: Annotated[
        float,
        "factor of the learning rate from each layer to the one below it, the head having all of "
        "it, for fine-tuning; 1 for none",
    ] = 1.0
    schedule: Annotated[str, "learning rate after the warm-up: step, cosine or constant"] = "step"
    milestones: Annotated[
        tuple[float, ...], "fractions of the training after which step multiplies by --decay"
    ] = (0.8, 0.9)
    decay: Annotated[float, "factor of the step schedule at each milestone"] = 0.01
    warmup_epochs: Annotated[int, "epochs of linear warm-up"] = 0
    warmup_start: Annotated[float, "fraction of the learning rate in the first epoch"] = 0.1
    clip_norm: Annotated[float, "largest norm of the gradient; 0 for no clipping"] = 0.0
    accumulate: Annotated[int, "batches whose gradients make one step"] = 1
    average_decay: Annotated[
        float, "decay of a moving average of the weights, which is saved in their place; 0 for none"
    ] = 0.0
    mixup: Annotated[float, "alpha of mixup: adds mixup:ALPHA to the view policy; 0 for none"] = 0.0
    cutmix: Annotated[
        float, "alpha of CutMix: adds cutmix:ALPHA to the view policy; 0 for none"
    ] = 0.0

    @property
    def mixing(self) -> list[str]:
        """The steps of a view policy that `mixup` and `cutmix` stand for."""
        return [f"{name}:{alpha}" for name in MIXING if (alpha := getattr(self, name))]

    def learning_rate_at(self, epoch: float) -> float:
        """Learning rate `epoch` epochs into the training, counted from 0.

        Step schedules and warm-ups hold still within an epoch, as the papers' code does;
        the cosine moves with every step.
        """
        return self.learning_rate * self._warmup_at(epoch) * self._schedule_at(epoch)

    def _warmup_at(self, epoch: float) -> float:
        whole = math.floor(epoch)
        if whole >= self.warmup_epochs:
            return 1.0
        return self.warmup_start + (1 - self.warmup_start) * whole / self.warmup_epochs

    def _schedule_at(self, epoch: float) -> float:
        if self.schedule == "constant":
            return 1.0
        if self.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * min(epoch / self.epochs, 1.0)))
        passed = math.floor(epoch) / self.epochs
        return self.decay ** sum(passed >= share for share in self.milestones)


MAX_COUNT = 10_000_000
"""Epochs, images in a batch and batches in a step; more are a slip of the finger."""

_BBN_WARMUP: dict[str, Any] = {"warmup_epochs": 4, "warmup_start": 7 / 15}
"""From 1/3 in five epochs. The scheduler is stepped before each, so the first is at 7/15."""

PRESETS: dict[str, Recipe] = {
    "quick": Recipe(epochs=60, batch_size=32, schedule="cosine", weight_decay=5e-4),
    # A step, because deferred class weights begin with it; by 0.1, because few epochs follow it.
    "short": Recipe(
        epochs=30, nesterov=True, weight_decay=5e-4, decay=0.1, warmup_epochs=1, warmup_start=0.5
    ),
    # Epoch e of the first five, counted from 1, runs at e/5 of the rate.
    "ldam": Recipe(epochs=200, warmup_epochs=4, warmup_start=0.2),
    # For the same reason the decays at 120 and 160 come at epochs 119 and 159, counted from 0.
    "bbn": Recipe(
        epochs=200, nesterov=True, drop_last=True, milestones=(0.595, 0.795), **_BBN_WARMUP
    ),
    "bag-of-tricks": Recipe(
        epochs=200, nesterov=True, drop_last=True, milestones=(0.795, 0.895), **_BBN_WARMUP
    ),
    "cifar-strong": Recipe(
        epochs=200, nesterov=True, weight_decay=5e-4, schedule="cosine",
        warmup_epochs=4, warmup_start=0.2,
    ),
    "imagenet-lt": Recipe(epochs=90, batch_size=256, weight_decay=5e-4, schedule="cosine"),
    "adamw": Recipe(
        epochs=300, batch_size=256, optimizer="adamw", learning_rate=2.5e-4, weight_decay=0.05,
        schedule="cosine", warmup_epochs=5, warmup_start=0.004,
    ),
    "fine-tune": Recipe(
        epochs=100, batch_size=256, optimizer="adamw", learning_rate=5e-4, weight_decay=0.05,
        layer_decay=0.65, schedule="cosine", warmup_epochs=5, warmup_start=0.1,
    ),
    "frozen-head": Recipe(
        epochs=30, batch_size=512, learning_rate=0.2, weight_decay=5e-4, schedule="cosine"
    ),
}  # fmt: skip
"""Named recipes; every field can be overridden."""

POLICIES = {"cifar-strong": "cifar-strong", "imagenet-lt": "imagenet"}
"""Preset -> the view policy that belongs to it, where it is not that of the image set."""

SOURCES = {
    "quick": "ours, for small sets and trials: seconds on a laptop",
    "short": "ours, for an evening on two processor cores",
    "ldam": "Cao et al., NeurIPS 2019 (arXiv:1906.07413): the authors' code, and BKD's after it",
    "bbn": "Zhou et al., CVPR 2020 (arXiv:1912.02413): the authors' code; BagofTricks-LT trains "
    "DiVE and its teacher so",
    "bag-of-tricks": "Zhang et al., AAAI 2021: the code and configurations of BagofTricks-LT",
    "cifar-strong": "for strong views; cosine and weight decay after Ren et al., NeurIPS 2020 "
    "(arXiv:2007.10740), Nesterov's momentum after Wang et al., ICLR 2021 (arXiv:2010.01809)",
    "imagenet-lt": "Kang et al., ICLR 2020 (arXiv:1910.09217): 512 images at rate 0.2, halved",
    "adamw": "Touvron et al., ICML 2021 (arXiv:2012.12877), DeiT: 512 images at rate 5e-4, halved",
    "fine-tune": "He et al., CVPR 2022 (arXiv:2111.06377), MAE: its code for ViT-B, 1,024 images "
    "at rate 2e-3, in proportion",
    "frozen-head": "for --freeze; rate, batch and weight decay of cRT, Kang et al., ICLR 2020 "
    "(arXiv:1910.09217), three times as long",
}
"""Where each preset comes from."""


def resolve(preset: str, overrides: dict[str, Any]) -> Recipe:
    """The preset with the given fields replaced, checked; UsageError names what is wrong."""
    if preset not in PRESETS:
        raise UsageError(
            f"There is no recipe {preset!r}; there are {', '.join(PRESETS)}.", "--recipe ldam"
        )
    recipe = dataclasses.replace(PRESETS[preset], **overrides)
    check(recipe)
    if recipe.schedule != "step":
        for name in ("milestones", "decay"):
            changed = getattr(recipe, name) != getattr(PRESETS[preset], name)
            _require(
                not changed, name, f"belongs to --schedule step, and this one is {recipe.schedule}"
            )
    return recipe


def check(recipe: Recipe) -> None:
    """Raises UsageError where a field of the recipe cannot be trained with."""
    for name, known in (("schedule", SCHEDULES), ("optimizer", OPTIMIZERS)):
        if (given := getattr(recipe, name)) not in known:
            raise UsageError(
                f"There is no {name} {given!r}; there are {', '.join(known)}.",
                f"--{name} {known[0]}",
            )
    for name, value in dataclasses.asdict(recipe).items():
        if isinstance(value, float):
            _require(math.isfinite(value), name, "must be a finite number")
    for name in ("epochs", "batch_size", "accumulate"):
        _require(1 <= getattr(recipe, name) <= MAX_COUNT, name, f"must be from 1 to {MAX_COUNT:,}")
    _require(recipe.warmup_epochs <= MAX_COUNT, "warmup_epochs", f"must be up to {MAX_COUNT:,}")
    _require(recipe.learning_rate > 0, "learning_rate", "must be above 0")
    _require(recipe.warmup_start > 0, "warmup_start", "must be above 0")
    _require(recipe.warmup_start <= 1, "warmup_start", "must not be above 1")
    _require(0 < recipe.layer_decay <= 1, "layer_decay", "must be above 0 and not above 1")
    for name in ("momentum", "average_decay"):
        _require(0 <= getattr(recipe, name) < 1, name, "must be at least 0 and below 1")
    for name in ("weight_decay", "clip_norm", "mixup", "cutmix", "warmup_epochs", "decay"):
        _require(getattr(recipe, name) >= 0, name, "must not be negative")
    _require(all(0 < m <= 1 for m in recipe.milestones), "milestones", "are shares in (0, 1]")
    _require(not recipe.nesterov or recipe.momentum > 0, "nesterov", "needs a momentum above 0")
    _require(not recipe.nesterov or recipe.optimizer == "sgd", "nesterov", "belongs to sgd")


def _require(holds: bool, name: str, rule: str) -> None:
    if not holds:
        option = "--" + name.replace("_", "-")
        raise UsageError(f"{option} {rule}.", command("teach", "--help"))
