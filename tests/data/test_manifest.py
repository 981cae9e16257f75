"""Manifests in CSV and TSV: a header, and a row for each image."""

import os

import pytest

from ltkd_cli.data import DataSpec, load
from ltkd_cli.errors import DataError, DataMismatch, UsageError

ROWS = [
    ("a/0.png", "dog", "train"),
    ("a/1.png", "cat", "train"),
    ("a/2.png", "cat", "train"),
    ("a/3.png", "owl", "train"),
    ("b/0.png", "owl", "test"),
    ("b/1.png", "cat", "test"),
    ("c/0.png", "dog", "val"),
]


@pytest.fixture
def images(tmp_path, write_image):
    """The images of ROWS; the same place for every manifest."""
    for seed, (path, _, _) in enumerate(ROWS):
        write_image(tmp_path / path, seed)
    return tmp_path


def lines_of(rows, mark=","):
    return "".join(mark.join(row) + "\n" for row in rows)


def write(images, text, name="pets.csv"):
    path = images / name
    path.write_text(text) if isinstance(text, str) else path.write_bytes(text)
    return path


@pytest.mark.parametrize(
    ("name", "mark"), [("pets.csv", ","), ("pets.csv", ";"), ("pets.tsv", "\t"), ("pets.CSV", ",")]
)
def test_a_split_column_says_where_images_belong(images, name, mark):
    text = lines_of([("path", "label", "split"), *ROWS], mark)
    data = load(DataSpec(str(write(images, text, name))))
    assert data.name == "pets"
    assert data.train.class_names == ("cat", "dog", "owl")
    assert data.train.labels.tolist() == [1, 0, 0, 2]
    assert data.test.labels.tolist() == [2, 0]
    assert data.validation.labels.tolist() == [1]
    assert data.spec.root == str(images)


def test_images_belong_to_their_rows(images, write_image):
    expected = write_image(images / "a/1.png", 77)
    path = write(images, lines_of([("path", "label", "split"), *ROWS]))
    image = load(DataSpec(str(path))).train.images.resident[1]
    assert (image.permute(1, 2, 0).numpy() == expected).all()


def test_without_test_images_the_validation_images_are_tested_on(images):
    rows = [row for row in ROWS if row[2] != "test"]
    data = load(DataSpec(str(write(images, lines_of([("path", "label", "split"), *rows])))))
    assert (data.test.split, data.test.labels.tolist()) == ("val", [1])
    assert data.validation is None


def test_the_test_manifest_lies_beside_the_train_manifest(images):
    write(images, lines_of([("path", "label"), *(row[:2] for row in ROWS[4:6])]), "pets_test.csv")
    path = write(
        images, lines_of([("path", "label"), *(row[:2] for row in ROWS[:4])]), "pets_train.csv"
    )
    data = load(DataSpec(str(path)))
    assert data.test.labels.tolist() == [2, 0]
    assert data.spec.test_list == str(images / "pets_test.csv")
    assert load(data.spec).test.fingerprint == data.test.fingerprint


def test_the_test_manifest_may_be_given(images):
    holdout = write(images, lines_of([("path", "label"), ("c/0.png", "dog")]), "holdout.csv")
    path = write(images, lines_of([("path", "label"), *(row[:2] for row in ROWS[:4])]))
    data = load(DataSpec(str(path), test_list=str(holdout)))
    assert data.test.labels.tolist() == [1]


def test_a_given_test_manifest_takes_the_place_of_the_split_test(images):
    holdout = write(images, lines_of([("path", "label"), ("b/1.png", "cat")]), "holdout.csv")
    path = write(images, lines_of([("path", "label", "split"), *ROWS]))
    data = load(DataSpec(str(path), test_list=str(holdout)))
    assert data.test.labels.tolist() == [0]
    assert data.validation.labels.tolist() == [1]


@pytest.mark.parametrize("label", ["[background]", "(wild) cat", "cat, dog or owl", "1/2", "{x}"])
def test_labels_with_odd_marks_are_names(images, label):
    rows = [("path", "label", "split"), *ROWS, ("c/0.png", label, "train")]
    data = load(DataSpec(str(write(images, lines_of(rows, "\t"), "pets.tsv"))))
    assert label in data.train.class_names


@pytest.mark.parametrize(
    "header",
    [
        "Path,Label,Split",
        "filename,class,set",
        "image,category,subset",
        " path , label , split ",
        "\ufeffpath,label,split",
    ],
)
def test_headers_of_other_programs_are_understood(images, header):
    data = load(DataSpec(str(write(images, header + "\n" + lines_of(ROWS)))))
    assert data.train.class_counts() == [2, 1, 1]


def test_other_columns_do_not_matter(images):
    rows = [("7", split, label, path) for path, label, split in ROWS]
    path = write(images, lines_of([("id", "split", "label", "path"), *rows]))
    assert load(DataSpec(str(path))).train.labels.tolist() == [1, 0, 0, 2]


def test_numbers_are_classes_in_the_order_of_the_numbers(images):
    of = {"cat": "10", "dog": "9", "owl": "2"}
    rows = [(path, of[label], split) for path, label, split in ROWS]
    data = load(DataSpec(str(write(images, lines_of([("path", "label", "split"), *rows])))))
    assert data.train.class_names == ("2", "9", "10")
    assert data.train.labels.tolist() == [1, 2, 2, 0]


def test_quoted_fields_hold_commas_quotes_and_spaces(images, write_image):
    write_image(images / 'a, b/the "cat".png', 50)
    rows = lines_of([("path", "label", "split"), *ROWS])
    rows += '"a, b/the ""cat"".png","fox, red",train\n'
    data = load(DataSpec(str(write(images, rows))))
    assert data.train.class_names == ("cat", "dog", "fox, red", "owl")


def test_windows_line_ends_and_blank_lines_are_read(images):
    text = lines_of([("path", "label", "split"), *ROWS]).replace("\n", "\r\n\r\n")
    assert load(DataSpec(str(write(images, text.encode())))).train.class_counts() == [2, 1, 1]


def test_paths_may_be_relative_to_another_folder(images):
    (images / "lists").mkdir()
    path = write(images, lines_of([("path", "label", "split"), *ROWS]), "lists/pets.csv")
    assert load(DataSpec(str(path), root=str(images))).train.class_counts() == [2, 1, 1]


def test_a_manifest_may_be_made_long_tailed_and_held_out_from(images, write_image):
    rows = [("path", "label", "split"), ("b/0.png", "0", "test")]
    for number in range(16):
        write_image(images / f"many/{number}.png", 100 + number)
        rows.append((f"many/{number}.png", str(number % 2), "train"))
    path = write(images, lines_of(rows))
    data = load(DataSpec(str(path), imbalance=4))
    assert data.train.class_counts() == [8, 2]
    held = load(DataSpec(str(path), validation=2))
    assert held.validation.class_counts() == [2, 2]


HEAD = "path,label,split\n"
REST = lines_of(ROWS)

BAD = {
    "empty": ("", "is empty"),
    "header alone": (HEAD, "names no images"),
    "no header": (REST, "no column path; its columns are a/0.png, dog, train"),
    "no label": ("path,split\na/0.png,train\n", "no column label"),
    "two labels columns": ("path,label,label\na/0.png,a,b\n", "two columns label"),
    "short row": (HEAD + REST + "a/0.png,cat\n", r"pets\.csv:9 has 2 fields"),
    "long row": (HEAD + "a, b.png,cat,train\n" + REST, r"pets\.csv:2 has 4 fields"),
    "no path": (HEAD + " ,cat,train\n" + REST, r"pets\.csv:2 has no image path"),
    "no label in a row": (HEAD + REST + "a/0.png,,train\n", r"pets\.csv:9 has no label"),
    "label of 5,000 digits": (HEAD + REST + "a/0.png," + "7" * 5000 + ",train\n", "has no label"),
    "negative label": (HEAD + REST + "a/9.png,-1,train\n", "has no label, but '-1'"),
    "unknown split": (HEAD + REST + "a/9.png,cat,holdout\n", "'holdout', which is none of"),
    "no split in a row": (HEAD + REST + "a/9.png,cat,\n", "the split ''"),
    "no training images": (HEAD + "b/0.png,owl,test\n", "no image of the split train"),
    "one class": (HEAD + "a/0.png,cat,train\nb/0.png,cat,test\n", "has 1 class; two"),
    "two labels of a path": (HEAD + REST + "a/0.png,owl,train\n", "the label 'owl', and .*'dog'"),
    "labels joined": (HEAD + REST + "a/9.png,cat|dog,train\n", "more than one label: 'cat|dog'"),
    "labels parted by a space": (HEAD + REST + "a/9.png,cat dog,train\n", "label: 'cat dog'"),
    "labels as a list": (HEAD + REST + "a/9.png,\"['cat', 'dog']\",train\n", "more than one label"),
    "zero byte in a path": (HEAD + REST + "a/\0.png,cat,train\n", "no image path"),
    "zero byte in a label": (HEAD + REST + "a/9.png,c\0t,train\n", "no plain text"),
    "escape in a label": (HEAD + REST + "a/9.png,\x1b[1m,train\n", "no plain text"),
    "open quote": (HEAD + REST + '"a/9.png,cat,train\n', "cannot be read as a table"),
    "huge field": (HEAD + REST + "a" * 200_000 + ",cat,train\n", "cannot be read as a table"),
    "latin-1": ((HEAD + REST).encode() + b"a/9.png,caf\xe9,train\n", "not UTF-8"),
    "binary": (os.urandom(8) + b"\xff\xfe\x00", "not UTF-8"),
    "missing image": (HEAD + REST + "a/9.png,cat,train\n", r"1 of 5 images .*a/9\.png"),
}


@pytest.mark.parametrize(("text", "said"), BAD.values(), ids=BAD)
def test_a_manifest_that_does_not_fit_is_a_sentence(images, text, said):
    path = write(images, text)
    with pytest.raises(DataError, match=said) as caught:
        load(DataSpec(str(path)))
    assert caught.value.exit_code == 1
    assert caught.value.problem.isprintable()
    assert len(caught.value.problem) < 500
    assert caught.value.hint


def test_a_class_name_of_several_words_is_one_label(images):
    rows = [(path, label.replace("dog", "polar bear"), split) for path, label, split in ROWS]
    rows = [(path, label.replace("owl", "bear"), split) for path, label, split in rows]
    data = load(DataSpec(str(write(images, lines_of([("path", "label", "split"), *rows])))))
    assert data.train.class_names == ("bear", "cat", "polar bear")


def test_a_test_class_without_training_images_is_a_mismatch(images):
    path = write(images, HEAD + REST + "b/9.png,yak,test\n")
    with pytest.raises(DataMismatch, match="yak"):
        load(DataSpec(str(path)))


def test_a_manifest_without_test_images_is_told_how_to_name_them(images):
    path = write(images, "path,label\na/0.png,cat\na/1.png,dog\n")
    with pytest.raises(DataError, match=r"pets\.csv does not say train") as caught:
        load(DataSpec(str(path)))
    assert caught.value.hint == "--test-list PATH/TO/test.csv"


def test_a_test_manifest_that_is_not_there_is_named(images):
    path = write(images, HEAD + REST)
    with pytest.raises(DataError, match=r"gone\.csv cannot be read: there is no such file"):
        load(DataSpec(str(path), test_list="gone.csv"))


def test_a_test_manifest_of_training_images_alone_is_refused(images):
    path = write(images, HEAD + REST)
    other = write(images, HEAD + "a/0.png,dog,train\n", "other.csv")
    with pytest.raises(DataError, match=r"other\.csv has no image of the split test or val"):
        load(DataSpec(str(path), test_list=str(other)))


def test_a_pipe_is_refused_at_once(images):
    os.mkfifo(images / "pets.csv")
    with pytest.raises(DataError, match="no regular file"):
        load(DataSpec(str(images / "pets.csv")))


def test_nothing_is_held_out_of_a_set_with_its_own_validation_images(images):
    path = write(images, HEAD + REST)
    with pytest.raises(UsageError, match="validation split of its own"):
        load(DataSpec(str(path), validation=1))
