"""Scores from logits and labels: head, medium and tail, every accuracy with its interval."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import NormalDist, fmean, stdev
from typing import Any

import torch
from torch import Tensor

from .data.groups import Groups
from .errors import CheckpointError, DataError, DataMismatch, command
from .files import write_atomically
from .splits import GROUP_NAMES, SPLITS

CONFIDENCE = 0.95
"""Of every interval."""

MIN_SEEDS = 3
"""Fewer are shown one by one, and have no interval."""

ECE_BINS = 15
"""Equal-width bins of the calibration error (Guo et al., ICML 2017)."""

_PART = 2**22
"""Logits that are scored together, so that a float64 copy of them takes 32 MiB."""


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

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Accuracy:
        """The accuracy that `asdict` gave; what a later version may add is left out."""
        return cls(**{field.name: values[field.name] for field in fields(cls)})


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
            splits={name: Accuracy.from_dict(values[name]) for name in SPLITS},
            balanced=Accuracy.from_dict(values["balanced_accuracy"]),
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
    """Scores of logits [M, C] for test labels int64 [M]; of equal logits the first class wins.

    CheckpointError where a logit is not finite, DataError where there are no test images,
    DataMismatch where logits and labels are about other classes than `class_names`.
    """
    _check(logits, labels, len(class_names))
    predicted, confidence, nll = _predictions(logits, labels)
    correct = predicted == labels
    per_class = _per_class(predicted, labels, confidence, groups, class_names, train_counts)
    share = int(correct.sum()) / len(labels)
    present = sum(row.test_images > 0 for row in per_class)
    overall = Accuracy(share, *wilson(share, len(labels)), len(labels), present)
    by_group = {name: _macro([per_class[c] for c in groups.classes(name)]) for name in GROUP_NAMES}
    return Scores(
        splits={"all": overall, **by_group},
        balanced=_macro(per_class),
        macro_f1=fmean(row.f1 for row in per_class if row.f1 is not None),
        nll=float(nll.mean()),
        ece=calibration_error(confidence, correct),
        per_class=tuple(per_class),
    )


def wilson(share: float, images: float) -> tuple[float, float]:
    """The 95 % Wilson interval of a share of (an effective number of) images.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference",
    Journal of the American Statistical Association, 1927.
    """
    z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
    centre = share + z * z / (2 * images)
    spread = z * math.sqrt(share * (1 - share) / images + z * z / (4 * images * images))
    scale = 1 + z * z / images
    low = (centre - spread) / scale if share > 0 else 0.0
    high = (centre + spread) / scale if share < 1 else 1.0
    return low, high


def calibration_error(confidence: Tensor, correct: Tensor) -> float:
    """Expected calibration error, in [0, 1], of confidences [M] in (0, 1] and
    correct bool [M].

    Bin b of B holds the confidences in (b / B, (b + 1) / B].

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017
    (arXiv:1706.04599).
    """
    inner_edges = torch.arange(1, ECE_BINS, dtype=torch.float64) / ECE_BINS
    bins = torch.bucketize(confidence.double(), inner_edges)
    gaps = torch.bincount(bins, confidence.double() - correct.double(), ECE_BINS)
    return float(gaps.abs().sum()) / len(confidence)


def accuracy_over_seeds(values: Sequence[float]) -> tuple[float, float | None, float | None]:
    """Mean accuracy in [0, 1] of three or more seeds, with its 95 % interval, cut at 0 and 1.

    Student's t knows no bounds, so ends that no accuracy can reach are cut off. One seed and
    two have no interval: with a single degree of freedom it is 12.7 standard errors wide to
    either side, which says less than the two values themselves.
    """
    if len(values) < MIN_SEEDS:
        return fmean(values), None, None
    mean, low, high = interval_over_seeds(values)
    assert low is not None
    assert high is not None
    return mean, max(low, 0.0), min(high, 1.0)


def interval_over_seeds(values: Sequence[float]) -> tuple[float, float | None, float | None]:
    """Mean and 95 % Student's t interval of one value a seed; no interval for a single seed.

    In the unit of the values, which may be differences: nothing bounds it. The interval is of
    the mean over all seeds that might have been drawn, and leaves the test images as they are.
    """
    mean = fmean(values)
    if len(values) < 2:
        return mean, None, None
    # imported late: only tables over several seeds need it
    from scipy.special import stdtrit

    quantile = float(stdtrit(len(values) - 1, 0.5 + CONFIDENCE / 2))
    reach = quantile * stdev(values) / math.sqrt(len(values))
    return mean, mean - reach, mean + reach


def write_per_class(path: Path, scores: Scores) -> None:
    """Writes the per-class table as CSV, atomically; what is None stays empty."""
    text = io.StringIO()
    names = [field.name for field in fields(ClassScore)]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(vars(row) for row in scores.per_class)
    write_atomically(path, text.getvalue())


def _check(logits: Tensor, labels: Tensor, classes: int) -> None:
    if not len(labels):
        raise DataError("There are no test images to score on.", "a --test-list with images")
    largest = int(labels.max())
    if logits.shape[1] != classes or largest >= classes:
        raise DataMismatch(
            f"The network has logits for {logits.shape[1]} classes, but the data has {classes} and"
            f" test labels up to {largest}.",
            "score on the data that the network was trained on",
        )
    finite = torch.cat([logits[rows].isfinite().all(1) for rows in _parts(logits)])
    if not finite.all():
        raise CheckpointError(
            f"The network's logits for {int((~finite).sum()):,} of {len(labels):,} test images"
            " are not finite.",
            command("teach"),
        )


def _predictions(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of every image: the class predicted, its probability, and -ln p of the label; all [M]."""
    predicted, confidence, nll = [], [], []
    for rows in _parts(logits):
        log_probabilities = logits[rows].double().log_softmax(1)
        # of the logits themselves: two that differ may round to one log-probability
        chosen = logits[rows].argmax(1, keepdim=True)
        predicted.append(chosen[:, 0])
        confidence.append(log_probabilities.gather(1, chosen)[:, 0].exp())
        nll.append(-log_probabilities.gather(1, labels[rows, None])[:, 0])
    return torch.cat(predicted), torch.cat(confidence), torch.cat(nll)


def _parts(logits: Tensor) -> list[slice]:
    """Rows to score together, a bounded number of logits at a time."""
    rows = max(1, _PART // logits.shape[1])
    return [slice(first, first + rows) for first in range(0, len(logits), rows)]


def _per_class(
    predicted: Tensor,
    labels: Tensor,
    confidence: Tensor,
    groups: Groups,
    class_names: Sequence[str],
    train_counts: Sequence[int],
) -> list[ClassScore]:
    classes = len(class_names)
    columns = (
        class_names,
        groups.of_class,
        train_counts,
        torch.bincount(labels, minlength=classes).tolist(),
        torch.bincount(predicted, minlength=classes).tolist(),
        torch.bincount(labels[predicted == labels], minlength=classes).tolist(),
        torch.bincount(labels, confidence, classes).tolist(),
    )
    return [_class_score(c, *row) for c, row in enumerate(zip(*columns, strict=True))]


def _class_score(
    index: int,
    name: str,
    group: str,
    train_images: int,
    test_images: int,
    predicted: int,
    correct: int,
    confidence: float,
) -> ClassScore:
    """The scores of a class predicted so often; `confidence` is the sum over its test images."""
    accuracy = correct / test_images if test_images else None
    low, high = (None, None) if accuracy is None else wilson(accuracy, test_images)
    total = test_images + predicted
    return ClassScore(
        index=index,
        name=name,
        group=group,
        train_images=train_images,
        test_images=test_images,
        correct=correct,
        accuracy=accuracy,
        low=low,
        high=high,
        precision=correct / predicted if predicted else None,
        f1=2 * correct / total if total else None,
        confidence=confidence / test_images if test_images else None,
    )


def _macro(rows: Sequence[ClassScore]) -> Accuracy:
    """Mean of the classes' accuracies; Wilson's interval for the effective number of images."""
    known = [row for row in rows if row.accuracy is not None]
    if not known:
        return Accuracy(None, None, None, 0, 0)
    mean = fmean(row.correct / row.test_images for row in known)
    images = sum(row.test_images for row in known)
    return Accuracy(mean, *wilson(mean, _effective_images(known)), images, len(known))


def _effective_images(rows: Sequence[ClassScore]) -> float:
    """Images of one accuracy whose share of correct ones varies like the mean over the classes.

    K classes with m_c images and accuracy p_c give p (1 - p) K^2 / sum(p_c (1 - p_c) / m_c),
    with p the mean; p_c from two correct and two wrong images more than there were, as
    Agresti and Coull have it, so that few images are never certain. At most
    K^2 / sum(1 / m_c), what it is where all p_c are equal: the number of images where all m_c
    are equal as well.
    """
    smoothed = [(row.correct + 2) / (row.test_images + 4) for row in rows]
    mean = fmean(smoothed)
    spread = sum(p * (1 - p) / row.test_images for p, row in zip(smoothed, rows, strict=True))
    alike = sum(1 / row.test_images for row in rows)
    return len(rows) ** 2 * min(mean * (1 - mean) / spread, 1 / alike)
