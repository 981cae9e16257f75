import os

import numpy as np
import pytest

from ltkd_cli.data import DataSpec, load
from ltkd_cli.errors import DataError, DataMismatch


def test_rows_follow_the_list(make_lists):
    data = load(DataSpec(str(make_lists([1, 0, 2, 0], [2, 1, 0]))))
    assert data.train.labels.tolist() == [1, 0, 2, 0]
    assert data.test.labels.tolist() == [2, 1, 0]
    assert data.train.class_counts() == [2, 1, 1]


def test_images_belong_to_their_lines(make_lists, tmp_path, write_image):
    train_list = make_lists([1, 0], [0, 1])
    expected = write_image(tmp_path / "train" / "1.png", seed=77)
    image = load(DataSpec(str(train_list))).train.images.resident[1]
    np.testing.assert_array_equal(image.permute(1, 2, 0), expected)


def test_classes_are_named_by_their_numbers(make_lists):
    data = load(DataSpec(str(make_lists([0, 1, 2], [0]))))
    assert data.train.class_names == data.test.class_names == ("0", "1", "2")


def test_the_set_is_named_after_the_list(make_lists):
    train_list = make_lists([0, 1], [0], "ImageNet_LT_train.txt", "ImageNet_LT_test.txt")
    assert load(DataSpec(str(train_list))).name == "ImageNet_LT"


def test_a_list_called_train_is_named_after_its_folder(make_lists, tmp_path):
    data = load(DataSpec(str(make_lists([0, 1], [0], "train.txt", "test.txt"))))
    assert data.name == tmp_path.name


def test_defaults_of_the_spec_are_filled_in(make_lists, tmp_path):
    spec = load(DataSpec(str(make_lists([0, 1], [0])))).spec
    assert (spec.root, spec.test_list) == (str(tmp_path), str(tmp_path / "pets_test.txt"))
    assert load(spec).spec == spec


def test_a_val_list_stands_in_for_a_test_list(make_lists):
    data = load(DataSpec(str(make_lists([0, 1], [1], test="pets_val.txt"))))
    assert data.test.split == "val"


def test_a_val_list_beside_a_test_list_is_there_for_validation(make_lists, tmp_path):
    train_list = make_lists([0, 1], [0, 1, 1])
    (tmp_path / "pets_val.txt").write_text("test/1.png 1\n")
    data = load(DataSpec(str(train_list)))
    assert data.test.class_counts() == [1, 2]
    assert data.validation.class_counts() == [0, 1]


@pytest.mark.parametrize("ending", ["txt", "csv"])
def test_paths_begin_in_the_folder_of_their_own_list(tmp_path, write_image, ending):
    pixels = {}
    for split in ("train", "test"):
        rows = ["path,label"] if ending == "csv" else []
        for label in (0, 1):
            image = tmp_path / split / f"{label}.png"
            pixels[split, label] = write_image(image, seed=len(pixels))
            rows.append(f"{label}.png{',' if ending == 'csv' else ' '}{label}")
        (tmp_path / split / f"list.{ending}").write_text("\n".join(rows))
    train, test = (str(tmp_path / split / f"list.{ending}") for split in ("train", "test"))
    data = load(DataSpec(train, test_list=test))
    for split, images in (("train", data.train.images), ("test", data.test.images)):
        for label in (0, 1):
            shown = images.resident[label].permute(1, 2, 0)
            np.testing.assert_array_equal(shown, pixels[split, label])
    assert load(data.spec).test.fingerprint == data.test.fingerprint


def test_an_image_with_two_labels_is_refused(make_lists):
    train_list = make_lists([0, 1], [0, 1])
    train_list.write_text(train_list.read_text().rstrip("\n") + "\ntrain/0.png 1\n")
    with pytest.raises(DataError, match=r"pets_train\.txt:3 .*train/0\.png"):
        load(DataSpec(str(train_list)))


def test_another_test_list_may_be_given(make_lists, tmp_path):
    train_list = make_lists([0, 1], [0, 1, 1])
    (tmp_path / "holdout.txt").write_text("test/0.png 0\n")
    data = load(DataSpec(str(train_list), test_list=str(tmp_path / "holdout.txt")))
    assert data.test.class_counts() == [1, 0]
    assert data.test.split == "test"


def test_paths_may_be_relative_to_another_folder(make_lists, tmp_path):
    train_list = make_lists([0, 1], [0])
    elsewhere = tmp_path / "lists"
    elsewhere.mkdir()
    for path in (train_list, tmp_path / "pets_test.txt"):
        path.rename(elsewhere / path.name)
    spec = DataSpec(str(elsewhere / train_list.name), root=str(tmp_path))
    assert load(spec).train.class_counts() == [1, 1]


def test_paths_may_be_absolute_and_hold_spaces(make_lists, tmp_path, write_image):
    train_list = make_lists([0, 1], [0])
    path = tmp_path / "far away" / "a dog  2.png"
    write_image(path)
    with train_list.open("a") as file:
        file.write(f"{path} 1\n")
    assert load(DataSpec(str(train_list))).train.class_counts() == [1, 2]


@pytest.mark.parametrize(
    "text",
    [
        "train/0.png 0\n\n   \ntrain/1.png 1\n\n",
        "train/0.png\t0\r\ntrain/1.png   1 \r\n",
        "\ufefftrain/0.png 0\ntrain/1.png 1",
    ],
    ids=["blank lines", "tabs and carriage returns", "byte order mark"],
)
def test_lists_of_every_editor_are_read(make_lists, text):
    train_list = make_lists([0, 1], [0])
    train_list.write_bytes(text.encode())
    assert load(DataSpec(str(train_list))).train.labels.tolist() == [0, 1]


def test_a_list_may_be_made_long_tailed(make_lists):
    data = load(DataSpec(str(make_lists([0, 1, 2] * 8, [0])), imbalance=4))
    assert data.train.class_counts() == [8, 4, 2]


@pytest.mark.parametrize("line", ["train/0.png", "train/0.png one", "train/0.png -1", "0 0.5", "7"])
def test_a_line_that_does_not_fit_is_named(make_lists, line):
    train_list = make_lists([0, 1], [0])
    train_list.write_text(f"train/0.png 0\n\n{line}\n")
    with pytest.raises(DataError, match=rf"pets_train\.txt:3 is not .*{line}"):
        load(DataSpec(str(train_list)))


def test_a_class_without_training_images_is_named(make_lists):
    with pytest.raises(DataError, match="no image of class 1, 3, and its largest class is 4"):
        load(DataSpec(str(make_lists([0, 2, 4], [0]))))


def test_a_single_class_is_refused(make_lists):
    with pytest.raises(DataError, match="one class only"):
        load(DataSpec(str(make_lists([0, 0], [0]))))


def test_a_class_of_the_test_list_must_be_known(make_lists):
    with pytest.raises(DataMismatch, match=r"pets_test\.txt has classes .* has not: 2, 5"):
        load(DataSpec(str(make_lists([0, 1], [0, 5, 2, 5]))))


def test_every_missing_image_is_counted_and_the_first_are_named(make_lists, tmp_path):
    train_list = make_lists([0, 1] * 10, [0])
    for number in range(15):
        (tmp_path / "train" / f"{number}.png").unlink()
    with pytest.raises(DataError, match=r"15 of 20 images below .* are not there") as caught:
        load(DataSpec(str(train_list)))
    assert "train/0.png, train/1.png" in caught.value.problem
    assert "train/9.png and 5 more" in caught.value.problem
    assert "--data-root" in caught.value.hint


def test_a_missing_list_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no list .*nothing_train\.txt"):
        load(DataSpec(str(tmp_path / "nothing_train.txt")))


def test_a_missing_test_list_is_asked_for(make_lists, tmp_path):
    train_list = make_lists([0, 1], [0])
    (tmp_path / "pets_test.txt").unlink()
    with pytest.raises(DataError, match=r"pets_test\.txt or pets_val\.txt") as caught:
        load(DataSpec(str(train_list)))
    assert caught.value.hint.startswith("--test-list")


def test_a_test_list_that_no_name_leads_to_is_asked_for(make_lists):
    train_list = make_lists([0, 1], [0], train="images.txt")
    with pytest.raises(DataError, match="does not say train") as caught:
        load(DataSpec(str(train_list)))
    assert caught.value.hint.startswith("--test-list")


def test_a_test_list_that_is_not_there_is_named(make_lists):
    with pytest.raises(DataError, match=r"gone\.txt cannot be read"):
        load(DataSpec(str(make_lists([0, 1], [0])), test_list="gone.txt"))


def test_an_empty_list_is_refused(make_lists):
    train_list = make_lists([0, 1], [0])
    train_list.write_text("\n")
    with pytest.raises(DataError, match="names no images"):
        load(DataSpec(str(train_list)))


def test_a_list_that_is_no_text_is_refused(make_lists):
    train_list = make_lists([0, 1], [0])
    train_list.write_bytes(b"\xff\xfe\x00train")
    with pytest.raises(DataError, match="cannot be read"):
        load(DataSpec(str(train_list)))


BAD_LINES = {
    "a label of 5,000 digits": (b"train/0.png " + b"7" * 5_000, "class number 777"),
    "a label of 5,000 zeros and a 9": (b"train/2.png " + b"0" * 5_000 + b"9", "no image of class"),
    "a zero byte": (b"train/\x000.png 0", "zero byte"),
    "digits of another script": ("train/0.png ٣".encode(), "not an image path"),
    "a terminal escape": (b"train/0.png \x1b[31mred", "not an image path"),
    "a very long line": (b"x" * 100_000, "not an image path"),
    "latin-1": (b"train/caf\xe9.png 0", "not UTF-8"),
}


@pytest.mark.parametrize(("line", "said"), BAD_LINES.values(), ids=BAD_LINES)
def test_an_odd_line_is_a_sentence(make_lists, line, said):
    train_list = make_lists([0, 1], [0])
    train_list.write_bytes(b"train/0.png 0\ntrain/1.png 1\n" + line + b"\n")
    with pytest.raises(DataError, match=said) as caught:
        load(DataSpec(str(train_list)))
    assert train_list.name in caught.value.problem
    assert len(caught.value.problem) < 400
    assert caught.value.problem.isprintable()
    assert caught.value.hint


def test_leading_zeros_of_a_label_do_not_count(make_lists):
    train_list = make_lists([0, 1], [0])
    train_list.write_text("train/0.png 000000000\ntrain/1.png 000000001\n")
    assert load(DataSpec(str(train_list))).train.labels.tolist() == [0, 1]


def test_a_list_that_is_a_pipe_is_refused_at_once(make_lists, tmp_path):
    train_list = make_lists([0, 1], [0])
    train_list.unlink()
    os.mkfifo(train_list)
    with pytest.raises(DataError, match=r"pets_train\.txt cannot be read: it is no regular file"):
        load(DataSpec(str(train_list), test_list=str(tmp_path / "pets_test.txt")))


def test_a_path_that_no_system_takes_is_a_missing_image(make_lists):
    train_list = make_lists([0, 1], [0])
    train_list.write_text(f"train/0.png 0\n{'x' * 5_000}/1.png 1\n")
    with pytest.raises(DataError, match="1 of 2 images"):
        load(DataSpec(str(train_list)))
