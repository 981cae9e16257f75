import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from ltkd_cli.data import DataSpec, load
from ltkd_cli.data.longtail import choose_rows, long_tail_counts
from ltkd_cli.errors import DataError, DataMismatch, UsageError


def test_classes_are_the_folders_in_alphabetical_order(tmp_path, write_image):
    for split in ("train", "test"):
        for name in ("zebra", "Ant", "mole"):
            write_image(tmp_path / split / name / "0.png")
    data = load(DataSpec(str(tmp_path)))
    assert data.train.class_names == data.test.class_names == ("Ant", "mole", "zebra")


def test_images_come_class_by_class_in_alphabetical_order(tmp_path, write_image):
    keys = [f"{name}/{image}.png" for name in ("a", "b") for image in ("1", "10", "2")]
    expected = [write_image(tmp_path / "train" / key, seed) for seed, key in enumerate(keys)]
    for key in keys:
        write_image(tmp_path / "test" / key)
    train = load(DataSpec(str(tmp_path))).train
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    np.testing.assert_array_equal(train.images.resident.permute(0, 2, 3, 1), np.stack(expected))


def test_a_natural_folder_is_kept_as_it_is(make_folder):
    data = load(DataSpec(str(make_folder([2, 7, 4]))))
    assert data.train.class_counts() == [2, 7, 4]
    assert data.test.class_counts() == [2, 2, 2]
    assert data.spec.imbalance is None


def test_names_and_splits_say_where_images_came_from(make_folder):
    data = load(DataSpec(str(make_folder([2, 2], name="birds"))))
    assert data.name == data.train.name == data.test.name == "birds"
    assert (data.train.split, data.test.split) == ("train", "test")


def test_val_stands_in_for_test(make_folder):
    assert load(DataSpec(str(make_folder([2, 2], test_split="val")))).test.split == "val"


def test_test_is_preferred_to_val(make_folder):
    make_folder([2, 2], test=1, test_split="val")
    assert load(DataSpec(str(make_folder([2, 2], test=3)))).test.class_counts() == [3, 3]


def test_val_beside_test_is_there_for_validation(make_folder):
    make_folder([2, 2], test=1, test_split="val")
    data = load(DataSpec(str(make_folder([2, 2], test=3))))
    assert data.validation.class_counts() == [1, 1]
    with pytest.raises(UsageError, match="validation split of its own"):
        load(DataSpec(data.spec.data, validation=1))


@pytest.mark.parametrize("split", ["test", "val"])
def test_a_folder_without_classes_is_neither_tested_nor_validated_on(
    make_folder, write_image, split
):
    folder = make_folder([2, 2], test_split={"test": "val", "val": "test"}[split])
    write_image(folder / split / "unlabelled.png")
    data = load(DataSpec(str(folder)))
    assert data.test.split != split
    assert data.validation is None


def test_images_outside_of_class_folders_are_counted_in_a_warning(make_folder, write_image):
    folder = make_folder([2, 2])
    assert load(DataSpec(str(folder))).warnings == ()
    for name in ("train/0.png", "train/1.jpg", "test/0.png"):
        write_image(folder / name)
    (warning,) = load(DataSpec(str(folder))).warnings
    assert "no class folder" in warning
    assert "3" in warning


def test_a_long_tail_is_the_published_choice(make_folder):
    folder = make_folder([20, 20, 20])
    natural, tailed = load(DataSpec(str(folder))), load(DataSpec(str(folder), imbalance=10))
    rows = choose_rows(natural.train.labels.numpy(), long_tail_counts(20, 3, 10), 0)
    assert torch.equal(tailed.train.labels, natural.train.labels[rows])
    assert torch.equal(tailed.train.images.resident, natural.train.images.resident[rows])
    assert tailed.test.fingerprint == natural.test.fingerprint


def test_a_class_with_too_few_images_for_the_long_tail_keeps_all_of_them(make_folder):
    data = load(DataSpec(str(make_folder([20, 2, 20])), imbalance=5))
    assert data.train.class_counts() == [20, 2, 4]


def test_only_images_of_the_long_tail_are_decoded(make_folder):
    folder = make_folder([6, 6])
    calls = []
    load(DataSpec(str(folder), imbalance=6), lambda done, total: calls.append((done, total)))
    assert calls[-1] == (11, 11)  # 6 + 1 to train on, 2 + 2 to test on


def test_folders_below_a_class_belong_to_it(make_folder, write_image):
    folder = make_folder([2, 2])
    write_image(folder / "train" / "class0" / "session 2" / "left" / "7.png")
    assert load(DataSpec(str(folder))).train.class_counts() == [3, 2]


@pytest.mark.parametrize("name", ["a.JPG", "a.jpeg", "a.PNG", "a.bmp", "a.webp", "a.ppm", "a.tif"])
def test_every_common_kind_of_image_is_read(make_folder, write_image, name):
    folder = make_folder([2, 2])
    write_image(folder / "train" / "class1" / name)
    assert load(DataSpec(str(folder))).train.class_counts() == [2, 3]


def test_other_and_hidden_files_do_not_count(make_folder, write_image):
    folder = make_folder([2, 2])
    (folder / "train" / "class0" / "notes.txt").write_text("seen in May")
    (folder / "train" / "class0" / "._000.png").write_bytes(b"what macOS leaves behind")
    write_image(folder / "train" / ".ipynb_checkpoints" / "000.png")
    write_image(folder / "train" / "class0" / ".thumbnails" / "000.png")
    data = load(DataSpec(str(folder)))
    assert data.train.class_counts() == [2, 2]


def test_small_images_of_one_size_keep_it(make_folder):
    data = load(DataSpec(str(make_folder([2, 2], size=(20, 20)))))
    assert data.spec.image_size == 20
    assert data.train.images.size == data.test.images.size == (20, 20)


def test_images_of_several_sizes_are_taken_for_photographs(make_folder, write_image):
    folder = make_folder([1, 1], test=1)
    write_image(folder / "train" / "class0" / "other.png", size=(9, 9))
    assert load(DataSpec(str(folder))).train.images.size == (224, 224)


def test_large_images_are_taken_for_photographs(make_folder):
    folder = make_folder([1, 1], test=1, size=(65, 65))
    assert load(DataSpec(str(folder))).train.images.size == (224, 224)


def test_the_image_size_may_be_chosen(make_folder):
    assert load(DataSpec(str(make_folder([2, 2])), image_size=5)).test.images.size == (5, 5)


def test_statistics_are_those_of_the_training_images(make_folder):
    data = load(DataSpec(str(make_folder([5, 9]))))
    pixels = data.train.images.resident.double() / 255
    assert data.mean == pytest.approx(pixels.mean((0, 2, 3)).tolist(), abs=1e-4)
    assert data.std == pytest.approx(pixels.std((0, 2, 3), correction=0).tolist(), abs=1e-4)


def test_every_image_size_has_its_own_statistics(make_folder):
    folder = make_folder([5, 9])
    large, small = (load(DataSpec(str(folder), image_size=size)) for size in (8, 2))
    assert small.std < large.std  # resizing averages noise out


def test_images_of_one_colour_leave_a_spread_to_divide_by(make_folder):
    folder = make_folder([1, 1])
    for path in (folder / "train").rglob("*.png"):
        Image.new("RGB", (8, 8), (0, 51, 255)).save(path)
    data = load(DataSpec(str(folder)))
    assert (data.mean, data.std) == ((0.0, 0.2, 1.0), (0.01, 0.01, 0.01))


def test_a_class_may_be_absent_from_the_test_images(make_folder):
    folder = make_folder([2, 2, 2])
    for path in (folder / "test" / "class1").iterdir():
        path.unlink()
    assert load(DataSpec(str(folder))).test.class_counts() == [2, 0, 2]
    (folder / "test" / "class1").rmdir()
    assert load(DataSpec(str(folder))).test.class_counts() == [2, 0, 2]


def test_a_class_of_the_test_images_must_be_known(make_folder, write_image):
    folder = make_folder([2, 2])
    write_image(folder / "test" / "okapi" / "0.png")
    with pytest.raises(DataMismatch, match="okapi"):
        load(DataSpec(str(folder)))


def test_a_missing_folder_is_named():
    with pytest.raises(DataError, match="no/such/folder"):
        load(DataSpec("no/such/folder"))


def test_a_folder_without_train_is_told_what_to_look_like(tmp_path):
    with pytest.raises(DataError, match="has no folder train") as caught:
        load(DataSpec(str(tmp_path)))
    assert f"{tmp_path}/train/CLASS/IMAGE" in caught.value.hint


def test_the_train_folder_itself_is_one_too_deep(make_folder):
    folder = make_folder([2, 2])
    with pytest.raises(DataError) as caught:
        load(DataSpec(str(folder / "train")))
    assert caught.value.hint == f"--data {folder}"


def test_a_folder_without_test_images_is_refused(make_folder):
    folder = make_folder([2, 2])
    (folder / "test").rename(folder / "holdout")
    with pytest.raises(DataError, match="neither a folder test nor a folder val"):
        load(DataSpec(str(folder)))


def test_images_without_class_folders_are_refused(tmp_path, write_image):
    write_image(tmp_path / "train" / "0.png")
    write_image(tmp_path / "test" / "0.png")
    with pytest.raises(DataError, match="holds 0"):
        load(DataSpec(str(tmp_path)))


def test_an_empty_class_folder_is_named(make_folder):
    folder = make_folder([2, 2])
    (folder / "train" / "axolotl").mkdir()
    with pytest.raises(DataError, match="axolotl") as caught:
        load(DataSpec(str(folder)))
    assert ".jpeg" in caught.value.hint


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_split_without_any_image_is_named(make_folder, split):
    folder = make_folder([2, 2])
    for path in (folder / split).rglob("*.png"):
        path.unlink()
    with pytest.raises(DataError, match=f"no images in the class folders of .*{split}"):
        load(DataSpec(str(folder)))


def test_a_link_to_nowhere_is_a_missing_image(make_folder):
    folder = make_folder([2, 2])
    (folder / "train" / "class1" / "lost.png").symlink_to(folder / "nowhere.png")
    with pytest.raises(DataError, match=r"1 of 5 images below .* class1/lost\.png"):
        load(DataSpec(str(folder)))


def test_links_are_followed_but_never_back_up(make_folder, tmp_path):
    folder = make_folder([2, 3])
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (folder / "train/class0").rename(elsewhere / "moved")
    (folder / "train/class0").symlink_to(elsewhere / "moved")
    (folder / "train/class1/loop").symlink_to(folder / "train")
    (folder / "train/class1/self").symlink_to(folder / "train/class1")
    assert load(DataSpec(str(folder))).train.class_counts() == [2, 3]


def test_links_between_classes_are_followed_once(make_folder):
    folder = make_folder([2, 2])
    (folder / "train/class0/other").symlink_to(folder / "train/class1")
    (folder / "train/class1/other").symlink_to(folder / "train/class0")
    assert load(DataSpec(str(folder))).train.class_counts() == [4, 4]


def test_a_class_name_that_is_not_utf_8_is_refused(make_folder):
    folder = make_folder([2, 2])
    (folder / "train" / "class1").rename(folder / "train" / os.fsdecode(b"caf\xe9"))
    shutil.rmtree(folder / "test" / "class1")
    with pytest.raises(DataError, match=r"not? plain text .*caf\\xe9") as caught:
        load(DataSpec(str(folder)))
    assert caught.value.hint


@pytest.mark.parametrize("name", ["a\nb", "\x1b[31mred", "tab\there", "x" * 201])
def test_a_class_name_that_is_no_plain_text_is_refused(make_folder, name):
    folder = make_folder([2, 2])
    for split in ("train", "test"):
        (folder / split / "class1").rename(folder / split / name)
    with pytest.raises(DataError, match="no plain text") as caught:
        load(DataSpec(str(folder)))
    assert caught.value.problem.isprintable()


@pytest.mark.parametrize("name", ["猫", "São Paulo", "Ünï çødé", "a$b", "[red]x[!]", "🦉"])
def test_class_names_of_any_script_are_kept(make_folder, name):
    folder = make_folder([2, 2])
    for split in ("train", "test"):
        (folder / split / "class1").rename(folder / split / name)
    assert name in load(DataSpec(str(folder))).train.class_names


def test_file_names_may_be_any_bytes(make_folder):
    folder = make_folder([2, 2])
    path = folder / "train" / "class1" / "001.png"
    path.rename(path.with_name(os.fsdecode(b"\xff\xfe.png")))
    assert load(DataSpec(str(folder))).train.class_counts() == [2, 2]


def test_a_set_whose_own_name_is_not_utf_8_is_refused(make_folder):
    folder = make_folder([2, 2])
    odd = folder.rename(folder.with_name(os.fsdecode(b"p\xe9ts")))
    with pytest.raises(UsageError, match=r"p\\xe9ts"):
        load(DataSpec(str(odd)))


def test_a_level_of_images_above_the_classes_is_understood(make_folder):
    folder = make_folder([2, 3])
    for split in ("train", "test"):
        (folder / split).rename(folder / "aside")
        (folder / split).mkdir()
        (folder / "aside").rename(folder / split / "images")
    data = load(DataSpec(str(folder)))
    assert data.train.class_names == ("class0", "class1")
    assert (data.train.class_counts(), data.test.class_counts()) == ([2, 3], [2, 2])


def test_a_level_of_images_below_each_class_is_understood(make_folder):
    folder = make_folder([2, 3])
    for name in ("class0", "class1"):
        (folder / "train" / name).rename(folder / "aside")
        (folder / "train" / name).mkdir()
        (folder / "aside").rename(folder / "train" / name / "images")
    assert load(DataSpec(str(folder))).train.class_counts() == [2, 3]


def test_a_class_may_be_called_images(make_folder):
    folder = make_folder([2, 3])
    for split in ("train", "test"):
        (folder / split / "class1").rename(folder / split / "images")
    assert load(DataSpec(str(folder))).train.class_names == ("class0", "images")
