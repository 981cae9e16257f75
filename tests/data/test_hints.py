"""Hints with paths of the user's: each is one word of the shell, whatever its name is."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from ltkd_cli.data import DataSpec, load
from ltkd_cli.errors import LtkdError

ARROW = Path(__file__).with_name("huggingface") / "pets"


def junk(name):
    def make(folder):
        (folder / name).write_bytes(b"no such file")
        return DataSpec(str(folder / name)), folder / name

    return make


def told(name="", **options):
    """A set that is told what is for others."""

    def make(folder):
        path = folder / name
        return DataSpec(str(path), **options), path

    return make


def train_folder(folder):
    for name in ("cat", "dog"):
        (folder / "train" / name).mkdir(parents=True)
    return DataSpec(str(folder / "train")), folder


def pipe(folder):
    os.mkfifo(folder / "train.txt")
    return DataSpec(str(folder / "train.txt"), test_list=str(folder / "train.txt")), (
        folder / "train.txt"
    )


def no_test_list(folder):
    (folder / "train.txt").write_text("0.png 0\n1.png 1\n")
    return DataSpec(str(folder / "train.txt"), test_list=str(folder / "gone.txt")), folder


def latin1(folder):
    (folder / "train.txt").write_bytes(b"caf\xe9.png 0\n")
    return DataSpec(str(folder / "train.txt"), test_list="test.txt"), folder / "train.txt"


def empty_table(folder):
    (folder / "pets.csv").write_text("path,label\n")
    return DataSpec(str(folder / "pets.csv")), folder / "pets.csv"


def empty_annotations(folder):
    for name in ("train/cat", "train/dog", "val/images"):
        (folder / name).mkdir(parents=True)
    for name in ("cat", "dog"):
        (folder / "train" / name / "0.png").touch()
    (folder / "val/val_annotations.txt").touch()
    return DataSpec(str(folder)), folder / "val/val_annotations.txt"


def damaged_arrow(folder):
    shutil.copytree(ARROW, folder, dirs_exist_ok=True)
    path = next((folder / "train").glob("*.arrow"))
    path.write_bytes(path.read_bytes()[:-8])
    return DataSpec(f"hf:{folder}"), path


def not_to_be_listed(folder):
    (folder / "train").mkdir()
    (folder / "train").chmod(0)
    return DataSpec(str(folder)), folder / "train"


CASES = {
    "a root for a folder": told(root="x"),
    "a download for a folder": told(download=True),
    "a store for arrays": told("pets.npz", store="never"),
    "the folder train": train_folder,
    "a list that is a pipe": pipe,
    "no test list": no_test_list,
    "a list in Latin-1": latin1,
    "an empty table": empty_table,
    "empty annotations": empty_annotations,
    "a damaged dataset": damaged_arrow,
    "a damaged archive": junk("pets.npz"),
    "damaged JSON": junk("pets.json"),
    "damaged Parquet": junk("pets.parquet"),
    "a locked folder": not_to_be_listed,
}


@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
def test_a_path_is_one_word_of_a_hint(tmp_path, make):
    if make in (CASES["a damaged dataset"], CASES["damaged Parquet"]):
        pytest.importorskip("pyarrow")
    if make is not_to_be_listed and os.geteuid() == 0:
        pytest.skip("the superuser lists every folder")
    folder = tmp_path / "a b;id"
    folder.mkdir()
    spec, path = make(folder)
    with pytest.raises(LtkdError) as caught:
        load(spec)
    assert str(path) in shlex.split(caught.value.hint, comments=True)


def test_the_hint_for_a_list_in_latin_1_mends_it(tmp_path, write_image):
    folder = tmp_path / "a b;id"
    for name in ("café", "dog"):
        write_image(folder / f"{name}.png", len(name))
    rows = "café.png 0\ndog.png 1\n"
    for name in ("train.txt", "test.txt"):
        (folder / name).write_text(rows, encoding="latin1" if name == "train.txt" else "utf8")
    spec = DataSpec(str(folder / "train.txt"))
    with pytest.raises(LtkdError, match="UTF-8") as caught:
        load(spec)
    subprocess.run(caught.value.hint, shell=True, check=True, stdin=subprocess.DEVNULL)
    assert load(spec).train.class_counts() == [1, 1]
    assert (folder / "train.txt.latin1").read_text(encoding="latin1") == rows
