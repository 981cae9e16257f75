"""Tiny-ImageNet as it is unpacked: train/CLASS/images, val/images with a file of annotations."""

import pytest

from ltkd_cli.data import DataSpec, load
from ltkd_cli.errors import DataError, DataMismatch

WNIDS = ("n01443537", "n01629819", "n02058221")
COUNTS = {"n01443537": 4, "n01629819": 3, "n02058221": 2}
VAL = ("n02058221", "n01443537", "n01629819", "n01443537")


@pytest.fixture
def tiny(tmp_path, write_image):
    """The layout of tiny-imagenet-200.zip, with three classes."""
    folder = tmp_path / "tiny-imagenet-200"
    for seed, (wnid, count) in enumerate(COUNTS.items()):
        for number in range(count):
            path = folder / "train" / wnid / "images" / f"{wnid}_{number}.JPEG"
            write_image(path, 100 * seed + number, (64, 64))
        boxes = folder / "train" / wnid / f"{wnid}_boxes.txt"
        boxes.write_text(f"{wnid}_0.JPEG\t0\t10\t63\t58\n")
    for number in range(len(VAL)):
        write_image(folder / "val" / "images" / f"val_{number}.JPEG", 900 + number, (64, 64))
    lines = [f"val_{number}.JPEG\t{wnid}\t0\t32\t44\t62\n" for number, wnid in enumerate(VAL)]
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))
    for number in range(2):
        write_image(folder / "test" / "images" / f"test_{number}.JPEG", 990 + number, (64, 64))
    (folder / "wnids.txt").write_text("\n".join(WNIDS) + "\n")
    (folder / "words.txt").write_text("n01443537\tgoldfish, Carassius auratus\n")
    return folder


def test_classes_and_labels_are_those_of_the_files(tiny):
    data = load(DataSpec(str(tiny)))
    assert data.train.class_names == WNIDS
    assert data.train.class_counts() == [4, 3, 2]
    assert data.test.labels.tolist() == [WNIDS.index(wnid) for wnid in VAL]
    assert data.test.split == "val"
    assert data.train.images.size == (64, 64)
    assert data.warnings == ()


def test_images_belong_to_their_lines(tiny):
    before = load(DataSpec(str(tiny))).test.images.resident.clone()
    path = tiny / "val" / "val_annotations.txt"
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    after = load(DataSpec(str(tiny))).test
    assert after.labels.tolist() == [WNIDS.index(wnid) for wnid in reversed(VAL)]
    assert (after.images.resident.flip(0) == before).all()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("val_9.JPEG n01443537 0 0 1 1", r"val_annotations\.txt:5 is no file name and class"),
        ("val_9.JPEG\t\t0\t0\t1\t1", r"val_annotations\.txt:5 is no file name and class"),
        ("val_9.JPEG\tn01443537\t0\t0\t1\t1", r"val_9\.JPEG"),
    ],
)
def test_a_line_that_does_not_fit_is_named(tiny, line, said):
    with (tiny / "val" / "val_annotations.txt").open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(DataError, match=said) as caught:
        load(DataSpec(str(tiny)))
    assert caught.value.hint


def test_a_class_that_is_not_trained_on_is_a_mismatch(tiny):
    with (tiny / "val" / "val_annotations.txt").open("a") as file:
        file.write("val_0.JPEG\tn09999999\t0\t0\t1\t1\n")
    with pytest.raises(DataMismatch, match="n09999999"):
        load(DataSpec(str(tiny)))


def test_an_empty_file_of_annotations_is_refused(tiny):
    (tiny / "val" / "val_annotations.txt").write_text("\n")
    with pytest.raises(DataError, match=r"val_annotations\.txt names no images"):
        load(DataSpec(str(tiny)))


def test_images_without_classes_cannot_be_tested_on(tiny):
    (tiny / "val").rename(tiny / "elsewhere")
    with pytest.raises(DataError, match="test/images have no classes"):
        load(DataSpec(str(tiny)))
