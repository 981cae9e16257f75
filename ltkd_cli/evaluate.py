"""Scores from logits and labels: head, medium and tail, every accuracy with its interval."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from .errors import CheckpointError, DataError
from .runs import write_atomically
from .splits import GROUP_NAMES, Groups

CONFIDENCE = 0.95
"""Of every interval."""

ECE_BINS = 15
"""Equal-width bins of the calibration error (Guo et al., ICML 2017)."""


@dataclass(frozen=True)
class Accuracy:
    """An accuracy with its 95 % interval, in [0, 1]; all None where there is no class."""

    accuracy: float | None
    low: float | None
    high: float | None
    images: int
    """Test images behind it."""
    classes: int
    """Classes with test images behind it."""


@dataclass(frozen=True)
class ClassScore:
    """How one class fared on the test set."""

    index: int
    name: str
    group: str
    train_images: int
    test_images: int
    correct: int
    accuracy: float | None
    low: float | None
    high: float | None
    precision: float | None
    """None where the class was never predicted."""
    f1: float | None
    """None where the class was neither present nor predicted."""
    confidence: float | None
    """Mean probability given to the predicted class, over the class's test images."""


@dataclass(frozen=True)
class Scores:
    """All scores of one network on one test set."""

    splits: dict[str, Accuracy]
    """`all` is top-1 over the images; each group is the mean of its classes' accuracies."""
    balanced: Accuracy
    """Mean of the accuracies of all classes that have test images."""
    macro_f1: float
    """Mean F1 over the classes that are present or predicted."""
    nll: float
    """Mean negative log-likelihood, in nats."""
    ece: float
    """Expected calibration error of the top-1 probability, in [0, 1]."""
    per_class: tuple[ClassScore, ...] = ()

    def accuracies(self) -> dict[str, float | None]:
        """Accuracy of every split, in [0, 1]; None where it has no class."""
        return {name: split.accuracy for name, split in self.splits.items()}

    def as_dict(self) -> dict[str, Any]:
        """JSON-able, without the per-class table."""
        return {
            **{name: asdict(split) for name, split in self.splits.items()},
            "balanced_accuracy": asdict(self.balanced),
            "macro_f1": self.macro_f1,
            "nll": self.nll,
            "ece": self.ece,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Scores:
        """The scores that `as_dict` gave."""
        return cls(
            splits={name: Accuracy(**values[name]) for name in ("all", *GROUP_NAMES)},
            balanced=Accuracy(**values["balanced_accuracy"]),
            macro_f1=values["macro_f1"],
            nll=values["nll"],
            ece=values["ece"],
        )


def score(
    logits: Tensor,
    labels: Tensor,
    groups: Groups,
    class_names: Sequence[str],
    train_counts: Sequence[int],
) -> Scores:
    """Scores of logits [M, C] for test labels int64 [M].

    CheckpointError where a logit is not finite, DataError where there are no test images.
    """
    if not len(labels):
        raise DataError("There are no test images to score on.", "ltkd data SPEC")
    if not torch.isfinite(logits).all():
        raise CheckpointError(
            "The network's answers to the test images are not all finite.", "ltkd teach"
        )
    log_probabilities = logits.double().log_softmax(1)
    confidence, predicted = log_probabilities.exp().max(1)
    correct = predicted == labels
    per_class = _per_class(predicted, labels, confidence, groups, class_names, train_counts)
    picked = log_probabilities.gather(1, labels[:, None])
    present = sum(row.test_images > 0 for row in per_class)
    low, high = wilson(float(correct.double().mean()), len(labels))
    overall = Accuracy(float(correct.double().mean()), low, high, len(labels), present)
    by_group = {name: _macro([per_class[c] for c in groups.classes(name)]) for name in GROUP_NAMES}
    f1 = [row.f1 for row in per_class if row.f1 is not None]
    return Scores(
        splits={"all": overall, **by_group},
        balanced=_macro(per_class),
        macro_f1=sum(f1) / len(f1),
        nll=float(-picked.mean()),
        ece=calibration_error(confidence, correct),
        per_class=tuple(per_class),
    )


def wilson(share: float, images: float) -> tuple[float, float]:
    """The 95 % Wilson interval of a share of (an effective number of) images.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference",
    Journal of the American Statistical Association, 1927.
    """
    z = float(stats.norm.ppf(0.5 + CONFIDENCE / 2))
    centre = share + z * z / (2 * images)
    spread = z * math.sqrt(share * (1 - share) / images + z * z / (4 * images * images))
    scale = 1 + z * z / images
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def calibration_error(confidence: Tensor, correct: Tensor) -> float:
    """Expected calibration error, in [0, 1], of confidences [M] in (0, 1] and hits bool [M].

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017
    (arXiv:1706.04599).
    """
    bins = (confidence.double() * ECE_BINS).ceil().long().clamp(1, ECE_BINS) - 1
    gaps = torch.zeros(ECE_BINS, dtype=torch.float64)
    gaps.index_add_(0, bins, confidence.double() - correct.double())
    return float(gaps.abs().sum() / len(confidence))


def interval_over_seeds(values: Sequence[float]) -> tuple[float, float | None, float | None]:
    """Mean and 95 % Student's t interval of one value a seed; no interval for a single seed."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return mean, None, None
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    reach = float(stats.t.ppf(0.5 + CONFIDENCE / 2, len(values) - 1)) * error
    return mean, mean - reach, mean + reach


def write_per_class(path: Path, scores: Scores) -> None:
    """Writes the per-class table as CSV, atomically."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(ClassScore.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in scores.per_class)
    write_atomically(path, text.getvalue())


def _per_class(
    predicted: Tensor,
    labels: Tensor,
    confidence: Tensor,
    groups: Groups,
    class_names: Sequence[str],
    train_counts: Sequence[int],
) -> list[ClassScore]:
    classes = len(class_names)
    test = _count(labels, classes)
    guessed = _count(predicted, classes)
    hits = _count(labels[predicted == labels], classes)
    sure = torch.bincount(labels, confidence.double(), classes).numpy()
    return [
        _class_score(
            c, class_names[c], groups.of_class[c], train_counts[c],
            int(test[c]), int(guessed[c]), int(hits[c]), float(sure[c]),
        )
        for c in range(classes)
    ]  # fmt: skip


def _class_score(
    index: int,
    name: str,
    group: str,
    train_images: int,
    test: int,
    guessed: int,
    hits: int,
    sure: float,
) -> ClassScore:
    low, high = wilson(hits / test, test) if test else (None, None)
    return ClassScore(
        index=index,
        name=name,
        group=group,
        train_images=train_images,
        test_images=test,
        correct=hits,
        accuracy=hits / test if test else None,
        low=low,
        high=high,
        precision=hits / guessed if guessed else None,
        f1=2 * hits / (test + guessed) if test + guessed else None,
        confidence=sure / test if test else None,
    )


def _macro(rows: Sequence[ClassScore]) -> Accuracy:
    """Mean of the classes' accuracies; Wilson's interval for the effective number of images.

    K classes with m_c images each vary like K^2 / sum(1 / m_c) images, which is their number
    where all m_c are equal.
    """
    known = [(row.accuracy, row.test_images) for row in rows if row.accuracy is not None]
    if not known:
        return Accuracy(None, None, None, 0, 0)
    mean = sum(accuracy for accuracy, _ in known) / len(known)
    effective = len(known) ** 2 / sum(1 / images for _, images in known)
    low, high = wilson(mean, effective)
    return Accuracy(mean, low, high, sum(images for _, images in known), len(known))


def _count(values: Tensor, classes: int) -> NDArray[np.int64]:
    counts: NDArray[np.int64] = torch.bincount(values, minlength=classes).numpy()
    return counts
