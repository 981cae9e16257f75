"""Validation images are held out of training, whatever form the images come in."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ltkd_cli.data import DataSpec, load
from ltkd_cli.data.heldout import hold_out
from ltkd_cli.data.longtail import choose_rows
from ltkd_cli.errors import DataError, UsageError


class Numbers:
    """As many things with labels, each known by its number."""

    def __init__(self, labels, numbers=None):
        self.labels = np.array(labels)
        self.numbers = np.arange(len(labels)) if numbers is None else numbers

    def take(self, rows):
        return Numbers(self.labels[rows], self.numbers[rows])


LABELS = [2, 0, 1, 0, 0, 2, 0, 1, 0, 0, 1, 3]  # 6, 3, 2 and 1 of the classes


def pixels_of(image_set):
    return {image.numpy().tobytes() for image in image_set.images.resident}


@pytest.mark.parametrize(
    ("asked", "held"), [(1, [1, 1, 1, 0]), (2, [2, 1, 1, 0]), (50, [3, 1, 1, 0])]
)
def test_each_class_gives_as_many_but_never_more_than_half(asked, held):
    rest, validation = hold_out(Numbers(LABELS), DataSpec(validation=asked))
    assert np.bincount(validation.labels, minlength=4).tolist() == held
    everything = np.sort(np.concatenate([rest.numbers, validation.numbers]))
    assert everything.tolist() == list(range(len(LABELS)))
    assert np.all(np.diff(rest.numbers) > 0)  # in the order they came in


def test_nothing_is_held_out_unless_asked_for():
    content = Numbers(LABELS)
    assert hold_out(content, DataSpec()) == (content, None)


def test_the_seed_of_the_subset_chooses_the_images():
    def held(seed):
        spec = DataSpec(validation=10, imbalance_seed=seed)
        return hold_out(Numbers([0] * 40 + [1] * 40), spec)[1].numbers.tolist()

    assert held(0) == held(0)
    assert held(0) != held(1)


def test_a_negative_number_is_refused_before_any_file_is_looked_for():
    with pytest.raises(UsageError, match="not -3"):
        load(DataSpec("no/such/folder", validation=-3))


def test_classes_of_one_image_are_refused():
    with pytest.raises(DataError, match="two training images"):
        hold_out(Numbers([0, 1, 2]), DataSpec(validation=1))


def check_apart(spec, counts, held):
    data = load(spec)
    assert data.train.class_counts() == counts
    assert data.validation.class_counts() == held
    assert data.validation.split == "validation"
    assert not pixels_of(data.train) & pixels_of(data.validation)
    assert not pixels_of(data.test) & pixels_of(data.validation)
    assert data.train.fingerprint != load(DataSpec(spec.data)).train.fingerprint


def test_folders_hold_out_images(make_folder):
    check_apart(DataSpec(str(make_folder([9, 4])), validation=3), [6, 2], [3, 2])


def test_images_are_held_out_of_the_long_tail(make_folder):
    spec = DataSpec(str(make_folder([20, 20, 20])), validation=4, imbalance=10)
    check_apart(spec, [16, 3, 1], [4, 3, 1])


def check_parts_of_the_subset(spec, validation):
    """What is left and what is held out are the subset of the same spec without validation."""
    whole, parted = load(spec), load(replace(spec, validation=validation))
    assert whole.validation is None
    left, held = pixels_of(parted.train), pixels_of(parted.validation)
    assert left | held == pixels_of(whole.train)
    assert len(parted.train.labels) + len(parted.validation.labels) == len(whole.train.labels)
    assert parted.groups == whole.groups
    assert parted.test.fingerprint == whole.test.fingerprint


def test_folders_are_parted_after_the_long_tail_is_made(make_folder):
    check_parts_of_the_subset(DataSpec(str(make_folder([20, 20, 20])), imbalance=10), 4)


def test_lists_are_parted_after_the_long_tail_is_made(make_lists):
    train_list = make_lists([0] * 9 + [1] * 9 + [2] * 9, [0, 1, 2])
    check_parts_of_the_subset(DataSpec(str(train_list), imbalance=4), 2)


def test_the_digits_are_parted_after_the_long_tail_is_made():
    check_parts_of_the_subset(DataSpec(), 10)


def test_groups_stay_those_of_the_whole_long_tail(make_folder):
    spec = DataSpec(str(make_folder([120, 30, 25])), groups="counts", validation=20)
    data = load(spec)
    assert data.train.class_counts() == [100, 15, 13]
    assert data.groups.of_class == ("head", "medium", "medium")


def test_lists_hold_out_images(make_lists):
    check_apart(DataSpec(str(make_lists([0] * 6 + [1] * 4, [0, 1])), validation=2), [4, 2], [2, 2])


def test_the_digits_hold_out_images_and_keep_their_test_set():
    held, whole = load(DataSpec(validation=10)), load(DataSpec())
    counts = whole.train.class_counts()
    assert held.validation.class_counts() == [min(10, count // 2) for count in counts]
    assert held.test.fingerprint == whole.test.fingerprint
    assert held.train.class_counts()[0] == whole.train.class_counts()[0] - 10
    assert whole.validation is None
    assert torch.equal(held.test.labels, whole.test.labels)


def test_rows_are_drawn_class_by_class_as_the_authors_draw_them():
    labels = np.random.default_rng(0).integers(0, 7, 500)
    counts = [20, 0, 30, 5, 1, 90, 3]
    generator, expected = np.random.RandomState(3), []
    for label, count in enumerate(counts):
        rows = np.flatnonzero(labels == label)
        generator.shuffle(rows)
        expected.append(rows[:count])
    assert np.array_equal(choose_rows(labels, counts, 3), np.concatenate(expected))
