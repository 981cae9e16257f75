"""Scores against scikit-learn, SciPy and slow transcriptions of their formulas."""

import csv
import json
import math
import os
import warnings

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import metrics

from ltkd_cli import metrics as evaluate
from ltkd_cli.data.groups import Groups, group_classes
from ltkd_cli.errors import CheckpointError, DataError, DataMismatch
from ltkd_cli.metrics import (
    Accuracy,
    Scores,
    accuracy_over_seeds,
    calibration_error,
    interval_over_seeds,
    score,
    wilson,
    write_per_class,
)

COUNTS = [500, 200, 60, 30, 10, 5]
NAMES = [f"class {c}" for c in range(6)]
GROUPS = group_classes(COUNTS, "counts")
"""Two classes in each group."""


def draw(seed=0, images=300, classes=6, absent=()):
    """Logits [M, C] that are right about half of the time, and labels that skip `absent`."""
    generator = torch.Generator().manual_seed(seed)
    present = torch.tensor([c for c in range(classes) if c not in absent])
    labels = present[torch.randint(len(present), (images,), generator=generator)]
    logits = torch.randn(images, classes, generator=generator)
    logits[torch.arange(images), labels] += 1.0
    return logits, labels


def scored(logits, labels):
    return score(logits, labels, GROUPS, NAMES, COUNTS)


def confident(predictions, classes=6):
    """Logits that leave no doubt about each prediction."""
    return 50.0 * torch.nn.functional.one_hot(torch.tensor(predictions), classes).float()


@pytest.mark.parametrize("absent", [(), (2,), (0, 5)])
def test_agrees_with_scikit_learn_also_where_classes_are_absent(absent):
    logits, labels = draw(absent=absent)
    logits[:, 3] = -9.0  # never predicted
    found = scored(logits, labels)
    predicted = logits.argmax(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes predicted but absent
        assert found.balanced.accuracy == pytest.approx(
            metrics.balanced_accuracy_score(labels, predicted)
        )
        assert found.macro_f1 == pytest.approx(metrics.f1_score(labels, predicted, average="macro"))
    assert found.splits["all"].accuracy == pytest.approx(metrics.accuracy_score(labels, predicted))
    probabilities = logits.double().softmax(1).numpy()
    assert found.nll == pytest.approx(metrics.log_loss(labels, probabilities, labels=range(6)))


def test_classes_neither_present_nor_predicted_do_not_count_in_macro_f1():
    found = scored(confident([0, 0, 1]), torch.tensor([0, 1, 1]))
    assert found.macro_f1 == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert [row.f1 for row in found.per_class[2:]] == [None] * 4


def test_group_accuracy_is_the_mean_over_its_classes_not_over_its_images():
    labels = torch.tensor([0, 0, 0, 1])
    found = scored(confident([0, 0, 5, 5]), labels).splits
    assert found["head"].accuracy == pytest.approx((2 / 3 + 0) / 2)
    assert found["all"].accuracy == 0.5


def test_splits_say_how_many_images_and_classes_are_behind_them():
    labels = torch.tensor([0, 0, 1, 4, 4])
    found = scored(confident([0, 0, 1, 4, 4]), labels).splits
    sizes = {name: (one.images, one.classes) for name, one in found.items()}
    assert sizes == {"all": (5, 3), "head": (3, 2), "medium": (0, 0), "tail": (2, 1)}


def test_a_group_without_classes_has_no_accuracy_rather_than_zero():
    groups = Groups("counts", ("head", "head", "tail"))
    found = score(
        confident([0, 1, 2], 3), torch.tensor([0, 1, 2]), groups, NAMES[:3], [200, 150, 9]
    )
    assert found.splits["medium"] == Accuracy(None, None, None, 0, 0)
    assert found.accuracies() == {"all": 1.0, "head": 1.0, "medium": None, "tail": 1.0}


@pytest.mark.parametrize(("correct", "images"), [(0, 7), (7, 7), (3, 7), (812, 1000), (1, 1)])
def test_wilson_interval_is_that_of_scipy(correct, images):
    expected = stats.binomtest(correct, images).proportion_ci(method="wilson")
    assert wilson(correct / images, images) == pytest.approx(
        (expected.low, expected.high), abs=1e-14
    )


def test_wilson_interval_of_none_and_all_ends_exactly_at_zero_and_one():
    assert {wilson(0.0, images)[0] for images in range(1, 200)} == {0.0}
    assert {wilson(1.0, images)[1] for images in range(1, 200)} == {1.0}


def test_interval_of_all_is_wilson_over_all_images():
    logits, labels = draw()
    overall = scored(logits, labels).splits["all"]
    correct = int((logits.argmax(1) == labels).sum())
    expected = stats.binomtest(correct, 300).proportion_ci(method="wilson")
    assert (overall.low, overall.high) == pytest.approx((expected.low, expected.high))


def test_interval_of_a_group_is_wilson_over_its_images_where_the_test_set_is_balanced():
    logits = draw(images=60)[0]
    labels = torch.arange(6).repeat(10)
    tail = scored(logits, labels).splits["tail"]
    rows = labels >= 4
    correct = int((logits.argmax(1) == labels)[rows].sum())
    expected = stats.binomtest(correct, 20).proportion_ci(method="wilson")
    assert (tail.low, tail.high) == pytest.approx((expected.low, expected.high))


def test_interval_of_unequal_classes_is_as_wide_as_their_mean_varies():
    labels = torch.tensor([0] * 100 + [1] * 4)
    predictions = [0] * 50 + [5] * 50 + [1] * 2 + [5] * 2
    head = scored(confident(predictions), labels).splits["head"]
    assert head.accuracy == 0.5
    # the variance of (a + b) / 2, with a = 0.5 over 100 images and b = 0.5 over 4
    effective = 0.25 / ((0.25 / 100 + 0.25 / 4) / 4)
    assert (head.low, head.high) == pytest.approx(wilson(0.5, effective))


def test_interval_of_unequal_classes_covers_the_truth_as_often_as_it_says():
    true, images = [0.5] + [0.98] * 5, [5] + [200] * 5  # the uncertain class has few images
    labels = torch.arange(6).repeat_interleave(torch.tensor(images))
    draws = torch.rand(200, len(labels), generator=torch.Generator().manual_seed(0))
    covered = 0
    for drawn in draws:
        predictions = torch.where(drawn < torch.tensor(true)[labels], labels, (labels + 1) % 6)
        balanced = scored(confident(predictions.tolist()), labels).balanced
        covered += balanced.low <= sum(true) / 6 <= balanced.high
    assert covered / 200 > 0.9


def slow_calibration_error(confidences, correct, bins=15):
    """Guo et al. (2017), equation 3, bin after bin."""
    total = 0.0
    for b in range(bins):
        inside = [i for i, p in enumerate(confidences) if b / bins < p <= (b + 1) / bins]
        if inside:
            accuracy = sum(correct[i] for i in inside) / len(inside)
            confidence = sum(confidences[i] for i in inside) / len(inside)
            total += len(inside) / len(confidences) * abs(accuracy - confidence)
    return total


@pytest.mark.parametrize("seed", range(3))
def test_calibration_error_is_that_of_a_slow_loop(seed):
    logits, labels = draw(seed)
    confidence, predicted = logits.double().softmax(1).max(1)
    expected = slow_calibration_error(confidence.tolist(), (predicted == labels).tolist())
    assert scored(logits, labels).ece == pytest.approx(expected)


def test_calibration_bins_hold_their_upper_edge():
    edges = torch.arange(1, 16, dtype=torch.float64) / 15
    correct = torch.arange(15) % 2 == 1
    expected = slow_calibration_error(edges.tolist(), correct.tolist())
    assert calibration_error(edges, correct) == pytest.approx(expected)
    # one bin each: were two in one, their gaps of opposite sign would cancel
    assert expected == pytest.approx(float((edges - correct.double()).abs().mean()))


def test_confident_and_right_is_calibrated_confident_and_wrong_is_not():
    assert scored(confident([0, 1]), torch.tensor([0, 1])).ece == pytest.approx(0.0)
    assert scored(confident([0, 1]), torch.tensor([1, 0])).ece == pytest.approx(1.0)


def test_per_class_rows_agree_with_scikit_learn():
    logits, labels = draw()
    confidence, predicted = logits.double().softmax(1).max(1)
    precision, recall, f1, test_images = metrics.precision_recall_fscore_support(labels, predicted)
    for c, row in enumerate(scored(logits, labels).per_class):
        assert (row.index, row.name, row.group) == (c, NAMES[c], GROUPS.of_class[c])
        assert (row.train_images, row.test_images) == (COUNTS[c], test_images[c])
        assert row.correct == int(((predicted == c) & (labels == c)).sum())
        assert (row.accuracy, row.precision, row.f1) == pytest.approx(
            (recall[c], precision[c], f1[c])
        )
        assert (row.low, row.high) == wilson(row.accuracy, row.test_images)
        assert row.confidence == pytest.approx(float(confidence[labels == c].mean()))


def test_a_class_without_test_images_has_no_accuracy():
    row = scored(confident([0, 5]), torch.tensor([0, 0])).per_class[5]
    assert (row.accuracy, row.low, row.high, row.confidence) == (None,) * 4
    assert (row.precision, row.f1) == (0.0, 0.0)
    assert scored(confident([0]), torch.tensor([0])).per_class[1].precision is None


def test_of_equal_logits_the_first_class_wins():
    found = scored(torch.zeros(6, 6), torch.arange(6))
    assert [row.correct for row in found.per_class] == [1, 0, 0, 0, 0, 0]
    assert found.nll == pytest.approx(math.log(6))


def test_logits_too_close_for_probabilities_still_decide():
    logits = torch.tensor([[0.0, 1e-30]])
    groups = Groups("rank", ("head", "tail"))
    found = score(logits, torch.tensor([1]), groups, ["a", "b"], [2, 1])
    assert found.splits["all"].accuracy == 1.0


def test_two_classes_are_enough():
    groups = Groups("rank", ("head", "tail"))
    labels = torch.tensor([0, 0, 1])
    found = score(confident([0, 0, 0], 2), labels, groups, ["a", "b"], [20, 1])
    assert found.accuracies() == {"all": 2 / 3, "head": 1.0, "medium": None, "tail": 0.0}


def test_results_do_not_depend_on_how_the_rows_are_parted(monkeypatch):
    logits, labels = draw()
    expected = scored(logits, labels)
    monkeypatch.setattr(evaluate, "_PART", 100)
    assert scored(logits, labels) == expected


def test_thousands_of_classes_are_scored():
    classes, images = 8142, 2000
    labels = torch.arange(images) % classes
    logits = torch.zeros(images, classes)
    logits[torch.arange(images), labels] = 20.0
    counts = [1000 - c // 9 for c in range(classes)]
    names = [str(c) for c in range(classes)]
    found = score(logits, labels, group_classes(counts), names, counts)
    assert found.splits["all"] == Accuracy(1.0, wilson(1.0, 2000)[0], 1.0, 2000, 2000)
    assert len(found.per_class) == classes


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_are_refused(value):
    logits, labels = draw(images=5)
    logits[3, 1] = logits[3, 2] = logits[4, 0] = value
    with pytest.raises(CheckpointError, match="2 of 5 test images"):
        scored(logits, labels)


def test_an_empty_test_set_is_refused():
    with pytest.raises(DataError, match="no test images") as caught:
        scored(torch.zeros(0, 6), torch.zeros(0, dtype=torch.int64))
    assert "--test-list" in str(caught.value.hint)


@pytest.mark.parametrize(("width", "label"), [(7, 0), (5, 0), (6, 6)])
def test_logits_of_other_classes_are_refused(width, label):
    with pytest.raises(DataMismatch, match=f"{width} classes, but the data has 6"):
        scored(torch.zeros(2, width), torch.tensor([0, label]))


def test_scores_survive_json_without_the_per_class_table():
    found = scored(*draw())
    document = json.loads(json.dumps(found.as_dict()))
    assert set(document) == {
        "all", "head", "medium", "tail", "balanced_accuracy", "macro_f1", "nll", "ece",
    }  # fmt: skip
    assert set(document["tail"]) == {"accuracy", "low", "high", "images", "classes"}
    again = Scores.from_dict(document)
    assert again.as_dict() == found.as_dict()
    assert again.splits == found.splits
    assert again.per_class == ()


def test_a_group_without_classes_survives_json():
    groups = Groups("counts", ("head",) * 6)
    found = score(*draw(), groups, NAMES, COUNTS)
    again = Scores.from_dict(json.loads(json.dumps(found.as_dict())))
    assert again.splits["tail"] == Accuracy(None, None, None, 0, 0)


@pytest.mark.parametrize("values", [[0.5, 0.7], [0.61, 0.64, 0.6], [0.2, 0.4, 0.3, 0.9, 0.1]])
def test_interval_over_seeds_is_that_of_scipy(values):
    mean, low, high = interval_over_seeds(values)
    expected = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    assert mean == pytest.approx(np.mean(values))
    assert (low, high) == pytest.approx(expected)


def test_one_seed_has_no_interval():
    assert interval_over_seeds([0.4]) == (0.4, None, None)


def test_an_accuracy_s_interval_over_seeds_ends_at_0_and_1():
    assert interval_over_seeds([0.02, 0.5, 0.99])[1] < 0
    assert interval_over_seeds([0.02, 0.5, 0.99])[2] > 1
    assert accuracy_over_seeds([0.02, 0.5, 0.99]) == (pytest.approx(1.51 / 3), 0.0, 1.0)


def test_an_accuracy_s_interval_over_seeds_is_student_s_where_no_end_is_cut():
    assert accuracy_over_seeds([0.61, 0.64, 0.6]) == interval_over_seeds([0.61, 0.64, 0.6])


@pytest.mark.parametrize("values", [[0.4], [0.4, 0.6]])
def test_one_accuracy_and_two_have_no_interval(values):
    assert accuracy_over_seeds(values) == (np.mean(values), None, None)


def test_equal_seeds_have_an_interval_of_no_width():
    assert interval_over_seeds([0.5, 0.5, 0.5]) == (0.5, 0.5, 0.5)


def test_per_class_file_holds_every_number_and_leaves_unknown_ones_empty(tmp_path):
    path = tmp_path / "per_class.csv"
    found = scored(*draw(absent=(2,)))
    write_per_class(path, found)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == NAMES
    assert [int(row["test_images"]) for row in rows] == [one.test_images for one in found.per_class]
    assert float(rows[0]["accuracy"]) == found.per_class[0].accuracy
    assert rows[2]["accuracy"] == rows[2]["low"] == ""
    assert list(tmp_path.iterdir()) == [path]


def test_per_class_file_keeps_class_names_with_commas_and_quotes(tmp_path):
    names = ['wolf, "grey"', *NAMES[1:]]
    write_per_class(tmp_path / "c.csv", score(*draw(), GROUPS, names, COUNTS))
    with (tmp_path / "c.csv").open(newline="") as file:
        assert next(csv.DictReader(file))["name"] == names[0]


def test_per_class_file_keeps_class_names_that_are_not_utf_8(tmp_path):
    names = [os.fsdecode(b"caf\xe9"), *NAMES[1:]]
    write_per_class(tmp_path / "c.csv", score(*draw(), GROUPS, names, COUNTS))
    with (tmp_path / "c.csv").open(newline="", errors="surrogateescape") as file:
        assert next(csv.DictReader(file))["name"] == names[0]
