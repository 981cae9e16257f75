"""Hugging Face datasets on disk: one that their package wrote, and the same layout with faults."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from ltkd_cli.data import DataSpec, load
from ltkd_cli.errors import DataError, DataMismatch

pa = pytest.importorskip("pyarrow")

WRITTEN = Path(__file__).with_name("huggingface") / "pets"


def pixels(label, number):
    values = (np.arange(8 * 8 * 3) * (3 + number) + 60 * label) % 256
    return torch.from_numpy(values.astype(np.uint8).reshape(8, 8, 3)).permute(2, 0, 1)


@pytest.mark.parametrize("prefix", ["hf:", ""])
def test_what_the_package_wrote_is_read(prefix):
    data = load(DataSpec(f"{prefix}{WRITTEN}"))
    assert data.name == "pets"
    assert data.train.class_names == ("owl", "cat", "dog")
    assert data.train.labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 2]
    assert data.test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert data.validation.labels.tolist() == [0, 1, 2]
    assert data.train.images.size == (8, 8)
    for row, (label, number) in enumerate([(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1)]):
        assert torch.equal(data.train.images.resident[row], pixels(label, number))
    assert torch.equal(data.test.images.resident[-1], pixels(2, 21))


def test_a_copy_has_the_same_fingerprint(tmp_path):
    copy = shutil.copytree(WRITTEN, tmp_path / "far" / "pets")
    first, second = (load(DataSpec(f"hf:{path}")) for path in (WRITTEN, copy))
    assert first.train.fingerprint == second.train.fingerprint
    assert first.train.fingerprint != first.test.fingerprint


def test_it_may_be_made_long_tailed_and_resized():
    data = load(DataSpec(f"hf:{WRITTEN}", imbalance=4, image_size=4))
    assert data.train.class_counts() == [4, 2, 1]
    assert data.train.images.size == (4, 4)


def test_images_are_decoded_on_demand_with_the_same_pixels():
    expected = load(DataSpec(f"hf:{WRITTEN}")).train.images.resident
    images = load(DataSpec(f"hf:{WRITTEN}", store="never")).train.images
    assert images.resident is None
    assert torch.equal(images.gather(torch.arange(9)), expected)


def png(write_image, tmp_path, seed):
    write_image(tmp_path / "a.png", seed)
    return (tmp_path / "a.png").read_bytes()


IMAGE = {"_type": "Image"}
LABEL = {"_type": "ClassLabel", "names": ["owl", "cat"]}


@pytest.fixture
def save(tmp_path, write_image):
    """Writes a dataset in the layout of `save_to_disk`; columns may be replaced or added."""

    def save(features=None, splits=("train", "test"), **columns):
        folder = tmp_path / "made"
        told = {"image": IMAGE, "label": LABEL} if features is None else features
        for at, split in enumerate(splits):
            images = [
                {"bytes": png(write_image, tmp_path, 10 * at + number), "path": None}
                for number in range(4)
            ]
            given = {"image": images, "label": [0, 1, 1, 0], **columns}
            table = pa.table({k: v for k, v in given.items() if v is not None})
            metadata = {"huggingface": json.dumps({"info": {"features": told}})}
            write_split(folder / split, table.replace_schema_metadata(metadata))
        (folder / "dataset_dict.json").write_text(json.dumps({"splits": list(splits)}))
        return folder

    return save


def write_split(folder, table):
    folder.mkdir(parents=True)
    name = "data-00000-of-00001.arrow"
    with (
        pa.OSFile(str(folder / name), "wb") as file,
        pa.ipc.new_stream(file, table.schema) as stream,
    ):
        stream.write_table(table)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
    (folder / "dataset_info.json").write_text("{}")


def read(folder, **fields):
    return load(DataSpec(f"hf:{folder}", **fields))


def test_classes_of_cifar100_are_its_fine_labels(save):
    fine = {"_type": "ClassLabel", "names": ["apple", "bear", "cow"]}
    coarse = {"_type": "ClassLabel", "names": ["fruit", "animal"]}
    folder = save(
        {"img": IMAGE, "fine_label": fine, "coarse_label": coarse},
        image=None,
        label=None,
        img=[{"bytes": bytes_of, "path": "a.png"} for bytes_of in many_pngs()],
        fine_label=[2, 0, 1, 2],
        coarse_label=[1, 0, 1, 1],
    )
    assert read(folder).train.class_names == ("apple", "bear", "cow")


def many_pngs():
    import io

    from PIL import Image

    for shade in (10, 60, 110, 160):
        file = io.BytesIO()
        Image.new("RGB", (8, 8), (shade, 0, 0)).save(file, "PNG")
        yield file.getvalue()


def test_labels_without_names_are_numbers(save):
    folder = save(
        {"image": IMAGE, "label": {"_type": "Value", "dtype": "int64"}}, label=[9, 10, 9, 10]
    )
    assert read(folder).train.class_names == ("9", "10")


def test_labels_may_be_text(save):
    folder = save({"image": IMAGE, "label": {"_type": "Value"}}, label=["b", "a", "b", "a"])
    data = read(folder)
    assert (data.train.class_names, data.train.labels.tolist()) == (("a", "b"), [1, 0, 1, 0])


def test_the_validation_images_are_tested_on_where_there_are_no_others(save):
    data = read(save(splits=("train", "validation")))
    assert (data.test.split, data.validation) == ("val", None)


def test_a_class_without_training_images_is_left_out_and_named(save):
    names = ["owl", "yak", "cat"]
    data = read(save({"image": IMAGE, "label": {**LABEL, "names": names}}, label=[0, 2, 2, 0]))
    assert data.train.class_names == ("owl", "cat")
    assert any("yak" in text for text in data.warnings)


VALUE = {"_type": "Value"}

BAD_TABLES = {
    "several labels": ({"label": [[0], [0, 1], [1], [0]]}, "holds list<.*not one label"),
    "a missing label": ({"label": [0, None, 1, 0]}, "some of it missing"),
    "no label": ({"label": [0, -1, 1, 0]}, "the label -1, which is no class"),
    "a label too many": ({"label": [0, 2, 1, 0]}, "the label 2, which is no class"),
    "fractions": ({"label": [0.5, 1.0, 0.0, 1.0]}, "neither numbers nor names"),
    "one class": ({"label": [1, 1, 1, 1]}, "has 1 class"),
    "images elsewhere": (
        {"image": [{"bytes": None, "path": "a.png"}] * 4},
        "not in its files",
    ),
    "images as numbers": ({"image": [[1, 2]] * 4}, "not in its files"),
    "another column": ({"label": None, "species": [0, 1, 1, 0]}, "no column label"),
    "no image column": ({"image": None}, "columns of images; its columns are label"),
}


@pytest.mark.parametrize(("columns", "said"), BAD_TABLES.values(), ids=BAD_TABLES)
def test_a_table_that_does_not_fit_is_a_sentence(save, columns, said):
    folder = save(**columns)
    with pytest.raises(DataError, match=said) as caught:
        read(folder)
    assert str(folder) in caught.value.problem
    assert (caught.value.exit_code, bool(caught.value.hint)) == (1, True)


def test_two_classes_of_one_name_are_refused(save):
    with pytest.raises(DataError, match="same name"):
        read(save({"image": IMAGE, "label": {**LABEL, "names": ["owl", "owl"]}}))


def test_a_broken_image_is_named_by_its_row(save):
    images = [{"bytes": bytes_of, "path": None} for bytes_of in many_pngs()]
    images[2]["bytes"] = b"no image"
    with pytest.raises(DataError, match=r"made/train, row 2, .*made/test, row 2"):
        read(save(image=images))


def damaged(path, change):
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize(
    "change",
    [
        lambda whole: b"",
        lambda whole: b"no arrow",
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole[:-8],
        lambda whole: whole[:20] + bytes(100) + whole[120:],
        lambda whole: b"\xff" * len(whole),
    ],
    ids=["empty", "text", "half", "end", "zeros", "ones"],
)
def test_a_damaged_arrow_file_is_a_sentence(save, change):
    folder = save()
    damaged(folder / "train" / "data-00000-of-00001.arrow", change)
    with pytest.raises(DataError, match="cannot be read as Arrow"):
        read(folder)


BAD_JSON = {
    "no JSON": ("dataset_dict.json", "{", "cannot be read as JSON"),
    "another shape": ("dataset_dict.json", "[]", "no JSON object"),
    "no splits": ("dataset_dict.json", "{}", "does not list its splits"),
    "splits of another kind": ("dataset_dict.json", '{"splits": [1]}', "does not list its splits"),
    "no test split": ("dataset_dict.json", '{"splits": ["train"]}', "train and test"),
    "two test splits": (
        "dataset_dict.json",
        '{"splits": ["train", "test", "testing"]}',
        "two splits for test: train, test, testing",
    ),
    "splits elsewhere": ("dataset_dict.json", '{"splits": ["../x", "test"]}', "odd names"),
    "no files": ("train/state.json", '{"_data_files": []}', "does not name its Arrow files"),
    "files elsewhere": (
        "train/state.json",
        '{"_data_files": [{"filename": "../../secret"}]}',
        "does not name its Arrow files",
    ),
    "a missing file": (
        "train/state.json",
        '{"_data_files": [{"filename": "gone.arrow"}]}',
        r"gone\.arrow cannot be read",
    ),
    "files of another kind": ("train/state.json", '{"_data_files": 3}', "Arrow files"),
}


@pytest.mark.parametrize(("name", "text", "said"), BAD_JSON.values(), ids=BAD_JSON)
def test_json_that_does_not_fit_is_a_sentence(save, name, text, said):
    folder = save()
    (folder / name).write_text(text)
    with pytest.raises(DataError, match=said) as caught:
        read(folder)
    assert caught.value.hint


def test_a_single_split_is_told_what_is_missing(save):
    with pytest.raises(DataError, match="a single split") as caught:
        read(save() / "train")
    assert "DatasetDict" in caught.value.hint


def test_a_folder_that_is_not_there_is_named():
    with pytest.raises(DataError, match="no dataset folder nowhere"):
        read("nowhere")


def test_test_classes_must_be_trained_on(save, tmp_path):
    folder = save()
    other = json.dumps(
        {"info": {"features": {"image": IMAGE, "label": {**LABEL, "names": ["owl", "elk"]}}}}
    )
    path = folder / "test" / "data-00000-of-00001.arrow"
    table = pa.ipc.open_stream(path.read_bytes()).read_all()
    shutil.rmtree(folder / "test")
    write_split(folder / "test", table.replace_schema_metadata({"huggingface": other}))
    with pytest.raises(DataMismatch, match="elk"):
        read(folder)
