"""The rows of the tables of CIFAR-10-LT: what each trains, and the published figure beside it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.cells import Training

BAG_OF_TRICKS = "Zhang et al., BagofTricks-LT"
MISLAS = "Zhong et al., MiSLAS"

SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Published:
    """A figure that others report, on the original pixels."""

    accuracy: float
    """On all classes, in percent."""
    source: str
    epoch: str
    """Which epoch it is of: `best` on the test set, `last`, or `not said`."""


@dataclass(frozen=True)
class Row:
    """One row of a table."""

    title: str
    stem: str
    """Name of its runs, without the seed."""
    training: Training | None = None
    """None where the last layer of another row's runs is rebalanced."""
    strategy: tuple[str, ...] = ()
    """Options of `rebalance` then."""
    teachers: tuple[str, ...] = ()
    """Stems of the rows whose caches it learns from, or whose last layer is rebalanced."""
    seeds: tuple[int, ...] = SEEDS[:1]
    published: Published | None = None

    def in_words(self) -> str:
        """What it adds to the command that all rows share."""
        if self.training is None:
            return shlex.join(("rebalance", *self.teachers, *self.strategy))
        kind = "distill" if self.teachers else "teach"
        own = shlex.join((kind, "--model", self.training.model, *self.training.arguments()))
        return own + (f", teacher: {' and '.join(self.teachers)}" if self.teachers else "")


def rebalanced(title: str, source: str, *strategy: str, **facts: Any) -> Row:
    """A row with another last layer for the runs of the row `source`."""
    stem = title.replace(" ", "-")
    return Row(title, stem, strategy=("--strategy", *strategy), teachers=(source,), **facts)


def trained(
    title: str, method: str, recipe: str, *teachers: str, model: str = "resnet32",
    stem: str = "", seeds: Sequence[int] = SEEDS[:1], published: Published | None = None,
    **settings: Any,
) -> Row:  # fmt: skip
    """A row of `teach`, or of `distill` where there are teachers."""
    stem = stem or title.replace(" ", "-").replace(",", "")
    training = Training(method, model, recipe, **settings)
    return Row(title, stem, training, (), teachers, tuple(seeds), published)


def best(accuracy: float, source: str = BAG_OF_TRICKS) -> Published:
    """A figure of the best epoch on the test set."""
    return Published(accuracy, source, "best")


ERM = Published(70.36, "Cao et al., LDAM-DRW", "not said")

COSINE = "cosine:20"
"""The last layer of cbd, and of its teacher."""

AT_160 = {"from_progress": 0.8}
"""Class weights from epoch 160 of 200 on, counted from 0."""

PUBLISHED_ROWS = (
    trained("teacher, ce", "ce", "ldam", seeds=SEEDS, published=ERM),
    trained("teacher, balanced-softmax", "balanced-softmax", "bbn", seeds=SEEDS),
    trained("teacher, cosine", "ce", "ldam", seeds=SEEDS, head=COSINE),
    trained("ce", "ce", "ldam", seeds=SEEDS, published=ERM),
    trained("ce, bag of tricks", "ce", "bag-of-tricks", published=best(71.95)),
    # Its code counts epochs from 1 and weighs from 161 on; that of LDAM below from 160 on.
    trained(
        "class-balanced, deferred", "class-balanced", "bag-of-tricks",
        options={**AT_160, "normalise_by": "batch-weights"}, published=best(74.64),
    ),
    trained(
        "ldam, deferred", "ldam", "bag-of-tricks",
        options={"from_progress": 0.795}, published=best(77.73),
    ),
    trained(
        "balanced-softmax", "balanced-softmax", "bag-of-tricks", seeds=SEEDS, published=best(77.54)
    ),
    rebalanced(
        "crt", "ce-bag-of-tricks", "crt", "--recipe", "bag-of-tricks", published=best(74.99)
    ),
    rebalanced(
        "lws", "ce-bag-of-tricks", "lws", "--recipe", "bag-of-tricks", published=best(72.63)
    ),
    rebalanced(
        "tau-norm", "ce-bag-of-tricks", "tau-norm", "--strength", "1", published=best(72.70)
    ),
    trained(
        "ce, mixup", "ce", "ldam",
        overrides={"decay": 0.1}, policy="cifar+mixup:1", published=best(72.8, MISLAS),
    ),
    rebalanced(
        "mislas", "ce-mixup", "mislas", "--recipe", "cifar10-lt", published=best(82.5, MISLAS)
    ),
    trained("kd", "kd", "ldam", "teacher-ce"),
    trained("bkd", "bkd", "ldam", "teacher-ce", seeds=SEEDS, options=AT_160),
    trained(
        "dive", "dive", "bbn", "teacher-balanced-softmax",
        seeds=SEEDS, options={"temperature": 2.0}, published=best(78.88),
    ),
    trained("cbd", "cbd", "ldam", "teacher-cosine", seeds=SEEDS),
    trained("krdistill", "krdistill", "ldam", "teacher-ce", seeds=SEEDS),
    trained("ltkd", "ltkd", "ldam", "teacher-ce", seeds=SEEDS),
)  # fmt: skip

FIRST = (
    "teacher-ce", "bkd", "kd", "teacher-balanced-softmax", "dive", "krdistill", "teacher-cosine",
    "cbd", "ltkd",
)  # fmt: skip
"""Stems of the rows that are trained before others, of each seed."""


def short(title: str, method: str, *teachers: str, **settings: Any) -> Row:
    """A student of the short table."""
    return trained(title, method, "short", *teachers, model="resnet20", seeds=SEEDS, **settings)


def short_teacher(name: str, method: str, **settings: Any) -> Row:
    """A teacher of the short table."""
    return trained(f"teacher, {name}", method, "short", seeds=SEEDS, **settings)


CLIPPED = {"clip_norm": 5.0}
EXPERTS = tuple(f"teacher-{group}-expert" for group in ("head", "medium", "tail"))
NO_LOGIT_HALF: dict[str, Any] = {"exchange": False, "prior_strength": 0.0}
NO_FEATURE_HALF: dict[str, Any] = {"representation_weight": 0.0}

SHORT_ROWS = (
    short_teacher("ce", "ce"),
    short_teacher("balanced-softmax", "balanced-softmax"),
    short_teacher("cosine", "ce", head=COSINE),
    *(
        short_teacher(f"{group}-expert", "ce", classes=group)
        for group in ("head", "medium", "tail")
    ),
    short("ce", "ce"),
    short("balanced-softmax", "balanced-softmax"),
    short("logit-adjust", "logit-adjust"),
    short(
        "class-balanced", "class-balanced", options={**AT_160, "normalise_by": "batch-weights"}
    ),
    short("ldam", "ldam"),
    short("focal", "focal"),
    *(
        rebalanced(f"{strategy} of ce", "teacher-ce", strategy, seeds=SEEDS)
        for strategy in ("crt", "lws", "mislas", "tau-norm", "logit-adjust")
    ),
    short("kd", "kd", "teacher-ce"),
    short("dkd", "dkd", "teacher-ce"),
    short("dist", "dist", "teacher-ce"),
    short("feature", "feature", "teacher-ce", overrides=CLIPPED),
    short("crd", "crd", "teacher-ce", overrides=CLIPPED),
    short("crd with weight 0.1", "crd", "teacher-ce", options={"weight": 0.1}),
    short("bkd", "bkd", "teacher-ce", options=AT_160),
    short("cbd", "cbd", "teacher-cosine"),
    short("dive", "dive", "teacher-balanced-softmax", options={"temperature": 2.0}),
    short("ltkd", "ltkd", "teacher-ce"),
    short("lfme", "lfme", *EXPERTS),
    short("krdistill", "krdistill", "teacher-ce"),
    short("krdistill logits only", "krdistill", "teacher-ce", options=NO_FEATURE_HALF),
    short("krdistill features only", "krdistill", "teacher-ce", options=NO_LOGIT_HALF),
    short(
        "krdistill with neither", "krdistill", "teacher-ce",
        options={**NO_LOGIT_HALF, **NO_FEATURE_HALF},
    ),
)  # fmt: skip
