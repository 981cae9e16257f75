import dataclasses
import json

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from ltkd_cli.data import DataSpec, load
from ltkd_cli.data.digits import doubled
from ltkd_cli.errors import DataError, UsageError


@pytest.fixture(scope="module")
def digits():
    return load(DataSpec())


def test_it_is_the_default():
    assert DataSpec().data == "digits-lt"


def test_training_counts_fall_from_134_to_6(digits):
    assert digits.train.class_counts() == [134, 96, 68, 49, 35, 25, 18, 13, 9, 6]


def test_test_set_is_balanced(digits):
    assert digits.test.class_counts() == [40] * 10


def test_every_default_of_the_spec_is_filled_in(digits):
    assert digits.spec == DataSpec(imbalance=20.0, image_size=16)


def test_the_filled_spec_gives_the_same_data(digits):
    again = load(digits.spec)
    assert (again.spec, again.train.fingerprint) == (digits.spec, digits.train.fingerprint)


def test_the_spec_fits_into_json(digits):
    text = json.dumps(dataclasses.asdict(digits.spec))
    assert DataSpec(**json.loads(text)) == digits.spec


def test_groups_are_thirds_by_rank(digits):
    assert digits.groups.rule == "rank"
    assert digits.groups.of_class == ("head",) * 3 + ("medium",) * 4 + ("tail",) * 3


def test_groups_may_be_counted():
    groups = load(DataSpec(groups="counts")).groups
    assert [len(groups.classes(name)) for name in ("head", "medium", "tail")] == [1, 5, 4]


def test_views_are_never_mirrored(digits):
    assert digits.views == "crop"


def test_images_are_grey_and_use_the_whole_range(digits):
    pixels = digits.train.images.resident
    assert pixels.shape == (453, 3, 16, 16)
    assert pixels.dtype == torch.uint8
    assert pixels.is_contiguous()
    assert torch.equal(pixels[:, 0], pixels[:, 1])
    assert torch.equal(pixels[:, 0], pixels[:, 2])
    assert (pixels.min(), pixels.max()) == (0, 255)


def test_training_and_test_images_are_different(digits):
    train = {image.numpy().tobytes() for image in digits.train.images.resident}
    test = {image.numpy().tobytes() for image in digits.test.images.resident}
    assert not train & test


def test_labels_belong_to_their_images(digits):
    # Brightness at the corners of each 2 x 2 block averages to the original pixel's own blur, so
    # the nearest original by mean brightness of blocks is the image itself.
    originals = load_digits()
    small = digits.test.images.resident[:, 0].float().unfold(1, 2, 2).unfold(2, 2, 2).mean((3, 4))
    flat = torch.from_numpy(originals.images).float().reshape(len(originals.images), -1) * 255 / 16
    nearest = torch.cdist(small.reshape(400, -1), flat).argmin(1)
    agreement = (digits.test.labels.numpy() == originals.target[nearest.numpy()]).mean()
    assert agreement == 1


def test_the_test_set_is_the_same_for_every_imbalance_and_seed(digits):
    other = load(DataSpec(imbalance=5, imbalance_type="step", imbalance_seed=9))
    assert other.test.fingerprint == digits.test.fingerprint
    assert other.train.fingerprint != digits.train.fingerprint


def test_the_training_images_never_change_silently(digits):
    # Caches made by earlier versions are tied to these images.
    assert digits.train.fingerprint == (
        "c61d8258787b6ae38baaacfd686c4c7d4184b507575f39775d95e7f07f0ca711"
    )


def test_statistics_are_those_of_the_training_images(digits):
    pixels = digits.train.images.resident.double() / 255
    assert digits.mean == pytest.approx(pixels.mean((0, 2, 3)).tolist(), abs=1e-4)
    assert digits.std == pytest.approx(pixels.std((0, 2, 3), correction=0).tolist(), abs=1e-4)


def test_doubling_is_bilinear():
    images = np.random.default_rng(0).integers(0, 17, (3, 8, 8))
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(images)[:, None].double(), scale_factor=2, mode="bilinear"
    )[:, 0]
    np.testing.assert_array_equal(doubled(images), expected.numpy() * 16)


def test_another_image_size_may_be_asked_for():
    data = load(DataSpec(image_size=20))
    assert data.train.images.size == (20, 20)
    assert data.test.images.resident.shape == (400, 3, 20, 20)


@pytest.mark.parametrize(
    "wrong",
    [
        {"imbalance": 0.0},
        {"imbalance": float("nan")},
        {"imbalance_type": "linear"},
        {"imbalance_seed": -1},
        {"image_size": 0},
        {"groups": "thirds"},
        {"test_list": "test.txt"},
        {"root": "data"},
        {"download": True},
        {"store": "never"},
        {"short_side": 256},
    ],
)
def test_values_that_do_not_fit_are_refused(wrong):
    if wrong.get("imbalance_type"):
        wrong = {**wrong, "imbalance": 10}
    with pytest.raises(UsageError) as caught:
        load(DataSpec(**wrong))
    assert caught.value.hint.startswith("--")


def test_an_imbalance_that_empties_a_class_is_refused():
    with pytest.raises(DataError, match="class 9 without an image") as caught:
        load(DataSpec(imbalance=200))
    assert load(DataSpec(imbalance=float(caught.value.hint.split()[1])))


@pytest.mark.parametrize(("wrong", "right"), [("digits", "digits-lt"), ("cifar10", "cifar10-lt")])
def test_a_misspelt_name_is_answered_with_the_right_one(wrong, right):
    with pytest.raises(DataError, match=wrong) as caught:
        load(DataSpec(wrong))
    assert caught.value.hint.startswith(f"--data {right} ")
