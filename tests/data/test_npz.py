"""NumPy archives as MedMNIST publishes them."""

import numpy as np
import pytest

from ltkd_cli.data import DataSpec, load
from ltkd_cli.errors import DataError, DataMismatch, UsageError

COUNTS = {"train": (6, 3, 2), "val": (2, 1, 1), "test": (2, 2, 2)}


def medmnist(colour=True, side=28):
    """The arrays of a MedMNIST archive: images, and labels [N, 1] in uint8."""
    random = np.random.default_rng(1)
    arrays = {}
    for split, counts in COUNTS.items():
        labels = np.repeat(np.arange(3, dtype=np.uint8), counts)
        shape = (len(labels), side, side, 3) if colour else (len(labels), side, side)
        arrays[f"{split}_images"] = random.integers(0, 256, shape, dtype=np.uint8)
        arrays[f"{split}_labels"] = labels[:, None]
    return arrays


@pytest.fixture
def write(tmp_path):
    def write(arrays):
        np.savez_compressed(tmp_path / "pathmnist.npz", **arrays)
        return DataSpec(str(tmp_path / "pathmnist.npz"))

    return write


@pytest.mark.parametrize("colour", [True, False], ids=["colour", "grey"])
def test_images_and_labels_are_those_of_the_archive(write, colour):
    arrays = medmnist(colour)
    data = load(write(arrays))
    assert data.name == "pathmnist"
    assert data.train.class_names == ("0", "1", "2")
    assert data.train.class_counts() == [6, 3, 2]
    assert data.test.class_counts() == [2, 2, 2]
    assert data.validation.class_counts() == [2, 1, 1]
    expected = arrays["test_images"] if colour else arrays["test_images"][..., None].repeat(3, 3)
    np.testing.assert_array_equal(data.test.images.resident.permute(0, 2, 3, 1), expected)


def test_small_images_keep_their_size_and_others_are_photographs(write):
    assert load(write(medmnist())).spec.image_size == 28
    assert load(write(medmnist(side=65))).spec.image_size == 224
    assert load(DataSpec(write(medmnist()).data, image_size=14)).train.images.size == (14, 14)


def test_the_validation_images_are_tested_on_where_there_are_no_others(write):
    arrays = {name: array for name, array in medmnist().items() if not name.startswith("test")}
    data = load(write(arrays))
    assert (data.test.split, data.validation) == ("val", None)


def test_an_archive_may_be_made_long_tailed(write):
    assert load(DataSpec(write(medmnist()).data, imbalance=6)).train.class_counts() == [6, 2, 1]


def test_labels_may_be_a_plain_row(write):
    arrays = {
        name: array.ravel().astype(np.int64) if name.endswith("labels") else array
        for name, array in medmnist().items()
    }
    assert load(write(arrays)).train.class_counts() == [6, 3, 2]


@pytest.mark.parametrize("name", list(medmnist()))
def test_every_array_is_in_a_fingerprint(write, name):
    arrays = medmnist()
    before = load(write(arrays))
    arrays[name] = np.roll(arrays[name], 1, axis=0)
    after = load(write(arrays))
    changed = [
        getattr(before, split).fingerprint != getattr(after, split).fingerprint
        for split in ("train", "validation", "test")
    ]
    assert changed == [name.startswith(split) for split in ("train", "val", "test")]


def test_an_image_of_the_training_set_among_the_test_images_is_said(write):
    arrays = medmnist()
    arrays["test_images"][4] = arrays["train_images"][10]
    (text,) = load(write(arrays)).warnings
    assert "Test images of pathmnist that are training images as well" in text


def replaced(name, change):
    arrays = medmnist()
    arrays[name] = change(arrays[name])
    return arrays


def without(*names):
    return {name: array for name, array in medmnist().items() if name not in names}


BAD = {
    "no training images": (without("train_images"), "has no train_images"),
    "no test images": (without("test_images", "val_images"), "neither test_images nor val_images"),
    "no labels": (without("train_labels"), "train_images and no train_labels"),
    "several labels": (
        replaced("train_labels", lambda labels: np.eye(3, dtype=np.uint8)[labels[:, 0]]),
        "several labels an image",
    ),
    "volumes": (
        replaced("train_images", lambda i: i[..., 0].repeat(28, 0).reshape(-1, 28, 28, 28)),
        "volumes",
    ),
    "four channels": (replaced("train_images", lambda i: i[..., [0, 1, 2, 0]]), "4 channels"),
    "floating-point images": (replaced("test_images", lambda i: i / 255), "no images in uint8"),
    "flat images": (replaced("test_images", lambda i: i.reshape(len(i), -1)), "no images in uint8"),
    "no image": (replaced("train_images", lambda i: i[:0]), "no images in uint8"),
    "fewer labels": (replaced("train_labels", lambda labels: labels[1:]), "for each of 11 images"),
    "labels in text": (replaced("train_labels", lambda labels: labels.astype(str)), "whole number"),
    "fractions": (replaced("train_labels", lambda labels: labels + 0.5), "not a whole number"),
    "a negative label": (replaced("train_labels", lambda i: i.astype(int) - 1), "from -1 to 1"),
    "a huge label": (
        replaced("train_labels", lambda i: i.astype(int) * 10**9),
        "are numbers",
    ),
    "a gap": (replaced("train_labels", lambda labels: labels * 2), "no training image of class 1"),
    "one class": (replaced("train_labels", lambda labels: labels * 0), "has 1 class"),
    "objects": (replaced("train_labels", lambda labels: labels.astype(object)), "cannot be read"),
}


@pytest.mark.parametrize(("arrays", "said"), BAD.values(), ids=BAD)
def test_an_archive_that_does_not_fit_is_a_sentence(write, arrays, said):
    spec = write(arrays)
    with pytest.raises(DataError, match=said) as caught:
        load(spec)
    assert "pathmnist.npz" in caught.value.problem
    assert (caught.value.exit_code, bool(caught.value.hint)) == (1, True)


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_class_without_training_images_is_a_mismatch(write, split):
    with pytest.raises(DataMismatch, match=f"{split}_labels .*class 3"):
        load(write(replaced(f"{split}_labels", lambda labels: labels + 1)))


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: b"no archive",
        lambda whole: whole[:-1],
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole[:500] + bytes(100) + whole[600:],
    ],
    ids=["empty", "text", "cut", "half", "zeros"],
)
def test_a_damaged_archive_is_a_sentence(write, tmp_path, damage):
    spec = write(medmnist())
    path = tmp_path / "pathmnist.npz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"pathmnist\.npz cannot be read as a NumPy archive"):
        load(spec)


def test_a_single_array_is_no_archive(tmp_path):
    with (tmp_path / "one.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(DataError, match="a single array"):
        load(DataSpec(str(tmp_path / "one.npz")))


def test_nothing_is_held_out_of_a_set_with_its_own_validation_images(write):
    with pytest.raises(UsageError, match="validation images of its own"):
        load(DataSpec(write(medmnist()).data, validation=1))


def test_pickles_are_never_read(tmp_path):
    class Exploit:
        def __reduce__(self):
            return (exec, ("raise SystemExit(99)",))

    arrays = {**medmnist(), "train_labels": np.array([Exploit()] * 11, dtype=object)}
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(DataError, match="cannot be read"):
        load(DataSpec(str(tmp_path / "bad.npz")))
