"""What the user may not have meant: the same image twice, and files that are left out."""

import shutil

import pytest

from ltkd_cli.data import DataSpec, load


def warnings(data, **fields):
    return load(DataSpec(str(data), **fields)).warnings


def test_a_sound_set_has_no_warnings(make_folder):
    assert warnings(make_folder([3, 3])) == ()


def test_a_test_list_that_is_the_train_list_is_said(make_lists):
    train_list = make_lists([0, 1, 1], [0])
    (text,) = warnings(train_list, test_list=str(train_list))
    assert "All 3 test images" in text
    assert "training images as well" in text


def test_a_copy_of_the_train_list_under_another_name_is_said(make_lists, tmp_path):
    train_list = make_lists([0, 1, 1], [0])
    for number in range(3):
        shutil.copy(tmp_path / f"train/{number}.png", tmp_path / f"copy{number}.png")
    (tmp_path / "pets_test.txt").write_text("copy0.png 0\ncopy1.png 1\ncopy2.png 1\n")
    (text,) = warnings(train_list)
    assert "All 3 test images" in text


def test_a_single_training_image_among_the_test_images_is_named(make_folder):
    folder = make_folder([3, 3])
    shutil.copy(folder / "train/class1/001.png", folder / "test/class1/again.png")
    (text,) = warnings(folder)
    assert "1 of 5" in text
    assert "test/class1/again.png" in text


def test_an_image_in_two_training_classes_is_named_with_both(make_folder):
    folder = make_folder([3, 3])
    shutil.copy(folder / "train/class0/001.png", folder / "train/class1/again.png")
    (text,) = warnings(folder)
    assert "pets that are in two classes at once: 1 (" in text
    assert "train/class0/001.png (class0) = train/class1/again.png (class1)" in text


def test_an_image_in_two_classes_of_two_splits_is_named_twice(make_folder):
    folder = make_folder([3, 3])
    shutil.copy(folder / "train/class0/001.png", folder / "test/class1/again.png")
    shared, torn = warnings(folder)
    assert "test/class1/again.png" in shared
    assert "train/class0/001.png (class0) = test/class1/again.png (class1)" in torn


def test_a_copy_within_a_class_is_no_warning(make_folder):
    folder = make_folder([3, 3])
    shutil.copy(folder / "train/class0/001.png", folder / "train/class0/again.png")
    assert warnings(folder) == ()


def test_kinds_of_files_that_are_not_read_are_counted(make_folder):
    folder = make_folder([3, 3])
    for name in ("1.avif", "2.avif", "3.AVIF", "4.heic", "labels.txt", "raw"):
        (folder / "train/class1" / name).write_bytes(b"content")
    (text,) = warnings(folder)
    assert "3 .avif" in text
    assert "1 .heic" in text
    assert "1 without an ending" in text
    assert ".txt" not in text


@pytest.mark.parametrize("name", ["Thumbs.db", "notes.md", ".DS_Store", "boxes.xml"])
def test_what_commonly_lies_beside_images_is_no_warning(make_folder, name):
    folder = make_folder([3, 3])
    (folder / "train/class1" / name).write_bytes(b"content")
    assert warnings(folder) == ()
