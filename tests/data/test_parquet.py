"""Manifests in Parquet, as pandas and pyarrow write them."""

import pytest

from ltkd_cli.data import DataSpec, load
from ltkd_cli.errors import DataError

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

PATHS = ["0.png", "1.png", "2.png", "3.png"]
LABELS = ["dog", "cat", "dog", "cat"]
SPLITS = ["train", "train", "train", "test"]


@pytest.fixture
def write(tmp_path, write_image):
    for seed, path in enumerate(PATHS):
        write_image(tmp_path / path, seed)

    def write(path=PATHS, label=LABELS, split=SPLITS, **columns):
        given = {"path": path, "label": label, "split": split, **columns}
        table = pa.table({name: values for name, values in given.items() if values is not None})
        parquet.write_table(table, tmp_path / "pets.parquet")
        return DataSpec(str(tmp_path / "pets.parquet"))

    return write


@pytest.mark.parametrize(
    "label",
    [LABELS, pa.array(LABELS).dictionary_encode(), pa.array(LABELS, pa.large_string())],
    ids=["text", "categories", "long text"],
)
def test_labels_may_be_text(write, label):
    data = load(write(label=label))
    assert data.train.class_names == ("cat", "dog")
    assert data.train.labels.tolist() == [1, 0, 1]
    assert data.test.labels.tolist() == [0]


@pytest.mark.parametrize("kind", [pa.int64(), pa.uint8(), pa.int32()], ids=str)
def test_labels_may_be_whole_numbers(write, kind):
    data = load(write(label=pa.array([10, 2, 10, 2], kind)))
    assert data.train.class_names == ("2", "10")
    assert data.train.labels.tolist() == [1, 0, 1]


def test_other_columns_do_not_matter(write):
    assert load(write(box=[[1, 2]] * 4, score=[0.5] * 4)).train.class_counts() == [1, 2]


BAD = {
    "several labels": ({"label": [["a"], ["a", "b"], ["b"], ["a"]]}, "holds list<.*not one label"),
    "fractions": ({"label": [0.0, 1.0, 0.0, 1.0]}, "holds double, not text or whole numbers"),
    "truth": ({"label": [True, False, True, False]}, "holds bool"),
    "a missing label": ({"label": ["a", None, "b", "a"]}, "row 1, has no label"),
    "a missing path": ({"path": ["0.png", None, "2.png", "3.png"]}, "row 1, has no path"),
    "no label column": ({"label": None, "species": LABELS}, "no column label; .*species"),
    "no rows": ({"path": [], "label": [], "split": []}, "holds null|names no images"),
    "paths as numbers": ({"path": [[1], [2], [3], [4]]}, "not one label|holds list"),
}


@pytest.mark.parametrize(("columns", "said"), BAD.values(), ids=BAD)
def test_a_table_that_does_not_fit_is_a_sentence(write, columns, said):
    spec = write(**columns)
    with pytest.raises(DataError, match=said) as caught:
        load(spec)
    assert (caught.value.exit_code, bool(caught.value.hint)) == (1, True)


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: b"path,label\n",
        lambda whole: whole[:-1],
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole[:4] + bytes(60) + whole[64:],
    ],
    ids=["empty", "text", "cut", "half", "zeros"],
)
def test_a_damaged_file_is_a_sentence(write, tmp_path, damage):
    spec = write()
    path = tmp_path / "pets.parquet"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"pets\.parquet cannot be read as Parquet") as caught:
        load(spec)
    assert caught.value.problem.isprintable()
