"""Features of a frozen backbone: whose they are, and who may take them over."""

import errno
import os
import shutil
from contextlib import chdir
from pathlib import Path

import pytest
from driving import ctrl_c
from foreign_weights import SMALL, write_small
from safetensors.torch import load_file

from benchmarks.faults.forging import forge_attributes
from ltkd_cli.cache import Cache, container
from ltkd_cli.commands.frozen import features_of
from ltkd_cli.commands.prepare import reopen
from ltkd_cli.commands.settings import Settings
from ltkd_cli.runs import find

FROZEN = (
    *("teach", "--model", SMALL, "--weights", "w.pt", "--freeze", "--precision", "float32"),
    *("--epochs", 3),
)
FIRST, SECOND = (Path("runs", name, "features.hdf5") for name in ("first", "second"))
VIEWS = ("--feature-views", 2)
OTHER_HEAD = ("--method", "balanced-softmax", "--seed", 4, "--learning-rate", 0.3)


@pytest.fixture(scope="module")
def told(ltkd, tmp_path_factory):
    """A folder with the weights of a backbone and a finished head on it, called `first`."""
    folder = tmp_path_factory.mktemp("told")
    with chdir(folder):
        write_small("w.pt")
        assert ltkd(*FROZEN, *VIEWS, "--name", "first").code == 0
    return folder


@pytest.fixture
def first(told, tmp_path, monkeypatch):
    """A copy of it as the current folder; the features of that head."""
    shutil.copytree(told, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return FIRST


def weights_of(name, root="runs"):
    return {
        k: v.numpy().tobytes() for k, v in load_file(f"{root}/{name}/model.safetensors").items()
    }


def alone(ltkd, *options):
    """Weights of the same run where no other has features."""
    assert ltkd(*FROZEN, *options, "--runs", "elsewhere", "--name", "second").code == 0
    return weights_of("second", "elsewhere")


def flip(path, byte):
    content = bytearray(path.read_bytes())
    content[byte] ^= 1
    path.write_bytes(content)


def an_entry(path):
    """Place of a byte of the features."""
    return container.read(path).ranges["features"].offset + 5


def test_a_second_head_takes_the_features_over(ltkd, first):
    said = ltkd(*FROZEN, *VIEWS, *OTHER_HEAD, "--name", "second")
    assert said.code == 0
    assert "first" in said.err
    assert SECOND.samefile(FIRST)
    assert weights_of("second") == alone(ltkd, *VIEWS, *OTHER_HEAD)
    assert weights_of("second") != weights_of("first")


def test_a_backbone_from_another_file_is_the_same(ltkd, first):
    file = "runs/first/model.safetensors"
    given = ("teach", "--weights", file, "--freeze", "--precision", "float32", "--model", SMALL)
    assert ltkd(*given, *VIEWS, "--epochs", 2, "--name", "second").code == 0
    assert SECOND.samefile(FIRST)


OTHERS = {
    "more views": ("--feature-views", 3),
    "fewer views": ("--feature-views", 1),
    "policy": (*VIEWS, "--policy", "flip"),
    "images": (*VIEWS, "--imbalance", 5),
    "weights": (*VIEWS, "--weights", "other.pt"),
    "normalisation": (*VIEWS, "--mean", "0.5,0.5,0.5", "--std", "0.2,0.2,0.2"),
    "precision": (*VIEWS, "--precision", "bfloat16"),
}


@pytest.mark.parametrize("options", OTHERS.values(), ids=OTHERS)
def test_other_features_are_computed_anew(ltkd, first, options):
    write_small("other.pt", seed=5)
    said = ltkd(*FROZEN, *options, "--name", "second")
    assert said.code == 0, said.err
    assert not SECOND.samefile(FIRST)
    assert SECOND.stat().st_nlink == 1


def damaged(path):
    flip(path, an_entry(path))


def damaged_in_what_it_says(path):
    flip(path, path.stat().st_size - 40)


def unfinished(path):
    path.rename(f"{path}.partial")


def of_other_software(path):
    forge_attributes(path, torch="1.0")


def of_another_device(path):
    forge_attributes(path, device="cuda")


def a_dangling_link(path):
    path.unlink()
    path.symlink_to("nowhere")


UNFIT = (
    *(damaged, damaged_in_what_it_says, unfinished, of_other_software, of_another_device),
    a_dangling_link,
)


@pytest.mark.parametrize("harm", UNFIT, ids=lambda harm: harm.__name__)
def test_what_is_not_known_to_be_the_same_is_not_taken(ltkd, first, harm):
    harm(FIRST)
    said = ltkd(*FROZEN, *VIEWS, "--name", "second")
    assert said.code == 0
    assert SECOND.stat().st_nlink == 1
    assert ("damaged" in harm.__name__) == (f"rm -- {FIRST}" in said.err)
    Cache.open(SECOND).verify()
    assert weights_of("second") == weights_of("first")


def test_where_no_link_can_be_made_they_are_computed(ltkd, first, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "link", refuse)
    said = ltkd(*FROZEN, *VIEWS, "--name", "second")
    assert said.code == 0
    assert os.strerror(errno.EXDEV) in said.err
    assert weights_of("second") == weights_of("first")


def test_a_symbolic_link_to_features_is_followed(ltkd, first):
    FIRST.rename("large-disk.hdf5")
    FIRST.symlink_to("../../large-disk.hdf5")
    assert ltkd(*FROZEN, *VIEWS, "--name", "second").code == 0
    assert SECOND.samefile("large-disk.hdf5")
    assert not SECOND.is_symlink()


@pytest.mark.parametrize("text", ["are used", "recipe quick"])
def test_a_run_goes_on_without_the_one_it_took_them_from(ltkd, first, text):
    given = (*FROZEN, *VIEWS, *OTHER_HEAD, "--name", "second")
    assert ltkd(*given, stderr=ctrl_c(text)).code == 130
    shutil.rmtree("runs/first")
    lock = SECOND.with_name("features.hdf5.partial.lock")
    lock.write_text("{}")  # as a kill may leave it behind
    assert ltkd("teach", "--resume", "second").code == 0
    assert not lock.exists()
    assert weights_of("second") == alone(ltkd, *VIEWS, *OTHER_HEAD)


def test_a_run_that_has_begun_to_compute_goes_on_with_its_own(ltkd, empty):
    write_small("w.pt")
    views = ("--feature-views", 4)
    stopped = ltkd(*FROZEN, *views, "--name", "second", stderr=ctrl_c("by the frozen backbone"))
    assert stopped.code == 130
    assert ltkd(*FROZEN, *views, "--name", "first").code == 0
    assert ltkd("teach", "--resume", "second").code == 0
    assert not SECOND.samefile(FIRST)
    assert not list(SECOND.parent.glob("*.partial"))
    assert weights_of("second") == weights_of("first")


def test_rebalance_reads_them_where_they_are_of_the_run(ltkd, first):
    assert ltkd(*FROZEN, *VIEWS, *OTHER_HEAD, "--name", "second").code == 0
    write_small("other.pt", seed=5)
    assert ltkd(*FROZEN, *VIEWS, "--weights", "other.pt", "--name", "third").code == 0
    assert ltkd(*FROZEN, *VIEWS, "--policy", "flip", "--name", "fourth").code == 0
    run = find(Path("runs"), "second")
    images = reopen(Settings.of(run)).data.train
    assert features_of(run, images, 2)
    assert features_of(run, images, 1)
    assert not features_of(run, images, 3)
    for other in ("third", "fourth"):
        SECOND.unlink()
        shutil.copy(f"runs/{other}/features.hdf5", SECOND)
        assert not features_of(run, images, 2)
    shutil.copy(FIRST, SECOND)
    assert features_of(run, images, 2)
