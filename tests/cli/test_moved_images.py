"""`ltkd eval` and `ltkd rebalance` of runs whose images lie elsewhere by now."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from driving import ctrl_c, refused
from PIL import Image

from ltkd_cli import runs
from ltkd_cli.cache import Cache

TINY = ("--model", "resnet8", "--epochs", "1", "--evaluate-every", "0", "--precision", "float32")
TAU = ("rebalance", "1", "--strategy", "tau-norm", "--strength", "1", "--views", "2")


def write_images(folder):
    """Two classes of noise, twelve images to train on and six to test."""
    random = np.random.default_rng(0)
    for split, count in (("train", 6), ("test", 3)):
        for label in ("cat", "dog"):
            path = folder / split / label
            path.mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(path / f"{number}.png")


def write_lists(folder):
    """A train and a test list of the images in `folder`, beside them."""
    for split in ("train", "test"):
        found = sorted((folder / split).rglob("*.png"))
        lines = [f"{path.relative_to(folder)} {int('dog' in path.parts)}" for path in found]
        (folder / f"{split}.txt").write_text("\n".join(lines))


@pytest.fixture(scope="module")
def trained(ltkd, tmp_path_factory):
    """A folder with a run on an image folder, and one on lists of it, which have moved since."""
    root = tmp_path_factory.mktemp("moved")
    write_images(root / "before")
    write_lists(root / "before")
    for data in (root / "before", root / "before/train.txt"):
        assert ltkd("teach", "--data", data, *TINY, "--runs", root / "runs").code == 0
    (root / "before").rename(root / "after")
    return root


@pytest.fixture
def moved(trained, tmp_path, monkeypatch):
    """A copy of it as the current folder."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_their_place_they_are_missed(moved, ltkd):
    assert refused(ltkd("eval", "1"), 1, "before", "--data")
    assert refused(ltkd(*TAU), 1, "before", "--data")


@pytest.mark.parametrize(("run", "data"), [("1", "after"), ("2", "after/train.txt")])
def test_where_they_lie_now_a_run_has_the_scores_that_it_recorded(moved, ltkd, run, data):
    said = ltkd("eval", run, "--data", data, "--json")
    assert said.code == 0
    document, recorded = json.loads(said.out), runs.find(Path("runs"), run).record["scores"]
    assert document["warnings"] == []
    assert document["results"][0]["all"] == recorded["all"]


def test_images_that_are_others_are_scored_with_a_warning(moved, ltkd):
    shutil.copy("after/test/cat/0.png", "after/test/dog/0.png")
    said = ltkd("eval", "1", "--data", "after", "--json")
    assert said.code == 0
    assert any("test images" in warning for warning in json.loads(said.out)["warnings"])


def test_a_cache_is_scored_on_no_other_images(moved, ltkd):
    assert ltkd("export-logits", "1", "--data", "after", "--views", "1", "--force").code == 0
    (cache,) = Path("runs").glob("*/*.h5")
    assert ltkd("eval", cache).code == 0
    assert refused(ltkd("eval", cache, "--data", "after"), 2, "cache")


def test_a_cache_of_moved_images_and_its_student_keep_their_size_and_their_tail(ltkd, empty):
    write_images(empty / "before")
    chosen = ("--image-size", "8", "--imbalance", "2", "--validation", "1")
    assert ltkd("teach", "--data", "before", *chosen, *TINY).code == 0
    Path("before").rename("after")
    export = ltkd("export-logits", "--data", "after", "--views", "1", "--force")
    assert export.code == 0
    assert "other images" not in export.err
    Path("after").rename("last")
    distill = ("distill", "--method", "kd", "--force", *TINY)
    missed = ltkd(*distill)
    assert refused(missed, 1, "after", "--data with the place")
    assert ltkd(*distill, "--data", "last").code == 0
    taught, student = (runs.find(Path("runs"), which).record for which in ("1", "2"))
    assert student["data"] == {**taught["data"], "name": student["data"]["name"]}


def test_other_images_bring_their_own_size_along(ltkd, empty):
    write_images(empty / "one")
    write_images(empty / "two")
    (empty / "two/train/dog/0.png").unlink()
    assert ltkd("teach", "--data", "one", "--image-size", "8", *TINY).code == 0
    said = ltkd("export-logits", "--data", "two", "--views", "1", "--force")
    assert "other images" in said.err
    (path,) = Path("runs").glob("*/*.h5")
    assert Cache.open(path).attributes["data_spec"]["image_size"] == 16


def test_images_are_found_when_the_folder_of_the_work_is_renamed(ltkd, empty, monkeypatch):
    write_images(empty / "images")
    (empty / "work").mkdir()
    monkeypatch.chdir("work")
    assert ltkd("teach", "--data", "../images", *TINY).code == 0
    (empty / "work").rename(empty / "play")
    monkeypatch.chdir(empty / "play")
    assert ltkd("eval").code == 0


def test_a_hint_of_rebalance_says_where_they_lie(moved, ltkd):
    write_images(Path("val"))
    shutil.move("val/test", "after/val")
    said = ltkd(*TAU, "--data", "after", "--validation", "1")
    assert refused(said, 2, "held", f"--data {'after'}")


def test_validation_images_that_a_run_did_not_hold_out_are_a_warning(moved, ltkd):
    write_images(Path("val"))
    shutil.move("val/test", "after/val")
    said = ltkd(*TAU, "--data", "after")
    assert said.code == 0
    assert "validation images" in said.err
    made = runs.find(Path("runs"), "3")
    assert made.record["rebalanced"][0]["validation_held_out"]
    document = json.loads(ltkd("eval", "3", "--images", "validation", "--json").out)
    assert document["warnings"] == []
    assert document["results"][0]["fingerprint"] == made.record["data"]["validation"]


def test_a_rebalanced_run_knows_where_they_lie_now(moved, ltkd):
    assert ltkd(*TAU, "--data", "after").code == 0
    made = runs.find(Path("runs"), "3")
    assert made.settings["data"]["data"] == str(Path("after").absolute())
    assert ltkd("eval", "3").code == 0


def test_its_config_repeats_it_from_any_folder(moved, ltkd, monkeypatch):
    assert ltkd(*TAU, "--data", "after").code == 0
    config = Path("runs").absolute() / "0003-rebalance-tau-norm-resnet8/config.toml"
    monkeypatch.chdir("/")
    root = moved / "runs"
    assert ltkd("rebalance", "--config", config, "--runs", root).code == 0
    hashes = [runs.find(root, number).record["weights_sha256"] for number in ("3", "4")]
    assert hashes[0] == hashes[1]


def test_an_interrupted_run_goes_on_where_images_and_cache_lie_now(moved, ltkd):
    export = ("export-logits", "1", "--data", "after", "--views", "1", "--force")
    assert ltkd(*export, "--output", "teacher.h5").code == 0
    student = ("distill", "--cache", "teacher.h5", "--model", "resnet8", "--epochs", "3", "--force",
               "--evaluate-every", "0", "--precision", "float32", "--log-every", "1")  # fmt: skip
    assert ltkd(*student, "--name", "whole").code == 0
    assert ltkd(*student, "--name", "parted", stderr=ctrl_c("epoch 1: ")).code == 130
    Path("after").rename("later")
    Path("teacher.h5").rename("moved.h5")

    go_on = ("distill", "--resume", "parted")
    assert refused(ltkd(*go_on), 1, "teacher.h5", "")
    assert refused(ltkd(*go_on, "--cache", "moved.h5"), 1, "after", "--data")
    two = ("--cache", "moved.h5", "--cache", "moved.h5")
    assert refused(ltkd(*go_on, "--data", "later", *two), 2, "names 2", "--resume")
    assert ltkd(*go_on, "--data", "later", "--cache", "moved.h5").code == 0
    weights = [Path("runs", name, "model.safetensors").read_bytes() for name in ("whole", "parted")]
    assert weights[0] == weights[1]


def test_an_interrupted_run_goes_on_with_no_other_images(moved, ltkd):
    teach = ("teach", "--data", "after", *TINY, "--epochs", "3", "--log-every", "1")
    assert ltkd(*teach, "--name", "parted", stderr=ctrl_c("epoch 1: ")).code == 130
    shutil.copytree("after", "other")
    shutil.copy("other/train/cat/0.png", "other/train/cat/1.png")
    assert refused(ltkd("teach", "--resume", "parted", "--data", "other"), 3, "train", "teach")
