import shutil

import numpy as np
import pytest
import torch

from ltkd_cli.data import DataSpec, ImageSet, load, statistics
from ltkd_cli.data.images import ResidentImages
from ltkd_cli.data.imageset import digest, fingerprint

LABELS = torch.tensor([0, 1, 1])
MARK = fingerprint(b"pixels", LABELS, ("cat", "dog"), (8, 8))


def test_a_fingerprint_is_64_hex_digits():
    assert len(MARK) == 64
    assert int(MARK, 16)


@pytest.mark.parametrize(
    "other",
    [
        (b"pixelz", LABELS, ("cat", "dog"), (8, 8)),
        (b"pixels", torch.tensor([0, 1, 0]), ("cat", "dog"), (8, 8)),
        (b"pixels", LABELS, ("dog", "cat"), (8, 8)),
        (b"pixels", LABELS, ("cat", "dogs"), (8, 8)),
        (b"pixels", LABELS, ("cat", "dog", "emu"), (8, 8)),
        (b"pixels", LABELS, ("cat", "dog"), (8, 9)),
    ],
    ids=["pixels", "labels", "class order", "class name", "number of classes", "size"],
)
def test_whatever_differs_changes_the_fingerprint(other):
    assert fingerprint(*other) != MARK


def test_a_fingerprint_never_changes_silently():
    # Caches made by earlier versions are tied to it.
    assert MARK == "fe82f2677401cdabe2055aadcb2584ed85f6c1e42dc8c7b2f40c8a04bddaa2a1"


def test_digests_know_where_their_parts_end():
    assert digest(b"ab", b"c") != digest(b"a", b"bc")


def test_classes_without_images_are_counted_as_zero():
    images = ResidentImages(torch.zeros(3, 3, 8, 8, dtype=torch.uint8))
    image_set = ImageSet("pets", "test", images, LABELS, ("cat", "dog", "emu"), MARK)
    assert image_set.class_counts() == [1, 2, 0]


def test_resident_images_are_gathered_by_row():
    pixels = torch.arange(4 * 3 * 2 * 5).byte().view(4, 3, 2, 5)
    images = ResidentImages(pixels)
    assert (len(images), images.size) == (4, (2, 5))
    assert torch.equal(images.gather(torch.tensor([2, 0])), pixels[[2, 0]])


def test_statistics_come_from_evenly_spaced_images(monkeypatch):
    monkeypatch.setattr(statistics, "STATISTICS_IMAGES", 3)
    pixels = torch.zeros(5, 3, 4, 4, dtype=torch.uint8)
    pixels[[1, 3]] = 255  # between the first, the middle and the last
    pixels[2, 1] = 255
    mean, std = statistics.channel_statistics(ResidentImages(pixels))
    assert mean == (0.0, 0.3333, 0.0)
    assert std == (0.01, 0.4714, 0.01)


def marks(folder, **changes):
    data = load(DataSpec(str(folder), **changes))
    return data.train.fingerprint, data.test.fingerprint


def test_a_copy_elsewhere_has_the_same_fingerprint(make_folder, tmp_path):
    folder = make_folder([4, 4])
    copy = shutil.copytree(folder, tmp_path / "far" / "away", copy_function=shutil.copyfile)
    assert marks(folder) == marks(copy)


def test_training_and_test_images_have_their_own_fingerprints(make_folder):
    train, test = marks(make_folder([2, 2]))
    assert train != test


@pytest.mark.parametrize(
    "changes", [{"imbalance": 2}, {"imbalance": 4, "imbalance_seed": 1}, {"image_size": 7}], ids=str
)
def test_another_subset_or_size_has_another_fingerprint(make_folder, changes):
    folder = make_folder([8, 8])
    known = {marks(folder)[0], marks(folder, imbalance=4)[0]}
    assert marks(folder, **changes)[0] not in known


def add_image(folder, write_image):
    write_image(folder / "train" / "class0" / "new.png")


def remove_image(folder, write_image):
    (folder / "train" / "class0" / "001.png").unlink()


def rename_image(folder, write_image):
    path = folder / "train" / "class0" / "001.png"
    path.rename(path.with_name("1.png"))


def grow_image(folder, write_image):
    with (folder / "train" / "class0" / "001.png").open("ab") as file:
        file.write(b"\0")


def change_image(folder, write_image):
    path = folder / "train" / "class0" / "001.png"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def swap_classes(folder, write_image):
    for split in ("train", "test"):
        (folder / split / "class0").rename(folder / split / "class2")


@pytest.mark.parametrize(
    "change", [add_image, remove_image, rename_image, grow_image, change_image, swap_classes]
)
def test_every_change_of_a_folder_changes_its_fingerprint(make_folder, write_image, change):
    folder = make_folder([3, 3])
    before = marks(folder)[0]
    change(folder, write_image)
    assert marks(folder)[0] != before


def test_fingerprints_of_lists_follow_their_order(make_lists):
    train_list = make_lists([0, 1, 0, 1], [0])
    before = marks(train_list)[0]
    lines = train_list.read_text().splitlines()
    train_list.write_text("\n".join(reversed(lines)))
    assert marks(train_list)[0] != before


def test_fingerprints_of_arrays_follow_their_pixels():
    first, second = (load(DataSpec(imbalance_seed=seed)).train for seed in (0, 1))
    np.testing.assert_array_equal(first.labels, second.labels)
    assert first.fingerprint != second.fingerprint
