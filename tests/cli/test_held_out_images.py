"""`--validation`: images that no training sees, and that choices are made on."""

import json
import shutil
from pathlib import Path

import pytest
from run_examples import reseal

from ltkd_cli import runs
from ltkd_cli.commands.rebalance_options import Rebalancing

HELD_OUT = 82
"""Of the digits with `--validation 10`: at most half of the images of each class."""

TINY = ("--model", "resnet8", "--precision", "float32", "--epochs", 2, "--evaluate-every", 1)


@pytest.fixture(scope="module")
def folder(ltkd, tmp_path_factory):
    """Runs of a teacher and a student from its cache, with 10 images of each class held out."""
    root = tmp_path_factory.mktemp("held-out") / "runs"
    assert ltkd("teach", *TINY, "--validation", 10, "--name", "teacher", "--runs", root).code == 0
    assert ltkd("export-logits", "teacher", "--views", 2, "--runs", root).code == 0
    assert ltkd("distill", *TINY, "--name", "student", "--runs", root).code == 0
    return root


@pytest.mark.parametrize("name", ["teacher", "student"])
def test_a_training_looks_at_held_out_images_and_not_at_the_test_set(folder, name):
    first, last = runs.read(folder / name).read_metrics()
    assert set(first["validation"]) == {"all", "head", "medium", "tail"}
    assert "test" not in first
    assert "validation" not in last  # its scores are in run.json


@pytest.mark.parametrize("name", ["teacher", "student"])
def test_both_scores_are_kept_and_eval_finds_them_again(ltkd, folder, name):
    record = runs.read(folder / name).record
    for images, kept in (("test", "scores"), ("validation", "validation_scores")):
        said = ltkd("eval", name, "--images", images, "--runs", folder, "--json")
        (result,) = json.loads(said.out)["results"]
        assert result["tail"] == record[kept]["tail"]
    assert record["validation_scores"]["all"]["images"] == HELD_OUT
    assert record["scores"]["all"]["images"] == 400


@pytest.mark.parametrize("on", ["test", "validation"])
def test_images_that_changed_since_are_said(ltkd, folder, on, tmp_path):
    root = tmp_path / "runs"
    shutil.copytree(folder, root)
    file = root / "teacher" / "run.json"
    record = json.loads(file.read_text())
    record["data"][on] = "of other images"
    reseal(file, record)
    for images in ("test", "validation"):
        said = ltkd("eval", "teacher", "--images", images, "--runs", root, "--json")
        warnings = json.loads(said.out)["warnings"]
        assert (said.code, len(warnings)) == (0, int(images == on))
        assert all(f"The {on} images" in warning and "teacher" in warning for warning in warnings)


def test_strategies_choose_on_them(ltkd, folder):
    for name in ("crt", "tau-norm"):
        said = ltkd("rebalance", "teacher", "--strategy", name, "--runs", folder, "--name", name)
        assert said.code == 0
        assert f"{HELD_OUT} images that were held out" in said.err
        assert "optimistic" not in said.err
        (stage,) = runs.read(folder / name).record["rebalanced"]
        assert (stage["validation_images"], stage["validation_held_out"]) == (HELD_OUT, True)
        recorded = runs.read(folder / "teacher").record["validation_scores"]
        assert stage["validation_before"] == pytest.approx(
            recorded["balanced_accuracy"]["accuracy"]
        )


def test_views_that_nobody_looks_at_are_not_recorded(ltkd, folder):
    options = ("--strategy", "tau-norm", "--views", "32", "--runs", folder, "--name", "tau-32")
    assert ltkd("rebalance", "teacher", *options).code == 0
    (stage,) = runs.read(folder / "tau-32").record["rebalanced"]
    assert stage["views"] == 1
    assert stage["options"]["views"] == Rebalancing.views


def test_what_does_not_fit_is_refused(ltkd, folder, story):
    said = ltkd("rebalance", "teacher", "--validation", 5, "--runs", folder)
    assert (said.code, f"held {HELD_OUT} images out" in said.err) == (2, True)
    said = ltkd("eval", "1", "--images", "validation")
    assert (said.code, "held no images out" in said.err) == (2, True)
    said = ltkd("eval", "1", "--images", "training")
    assert (said.code, "test or validation" in said.err) == (2, True)
    said = ltkd("eval", "1", "--on", "validation")
    assert (said.code, "--images" in said.err) == (2, True)
    said = ltkd("eval", next(Path("runs").glob("*/*.h5")), "--images", "validation")
    assert (said.code, "test set only" in said.err) == (2, True)


def test_the_images_say_how_many_are_held_out(ltkd):
    said = ltkd("data", "digits-lt", "--validation", 10, "--json")
    assert json.loads(said.out)["validation_images"] == HELD_OUT
