"""Mixed views from the command line: teacher, cache and students of policies that mix images."""

import shutil
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest
import torch
from driving import advised, ctrl_c, datasets, refused
from run_examples import edit

from ltkd_cli import models, runs
from ltkd_cli.cache import Cache, writer
from ltkd_cli.data import DataSpec, load
from ltkd_cli.views.policy import Policy, render, to_float

TINY = ("--model", "resnet8", "--evaluate-every", "0", "--precision", "float32")
POLICY = "crop+mixup:0.8+cutmix:1"
VIEWS = 3


@pytest.fixture(scope="module")
def mixed(ltkd, tmp_path_factory):
    """A folder with a teacher that was trained on mixtures, and its cache of them."""
    folder = tmp_path_factory.mktemp("mixed")
    with chdir(folder):
        given = ("--epochs", 2, "--policy", POLICY, "--name", "teacher")
        assert ltkd("teach", *TINY, *given).code == 0
        assert ltkd("export-logits", "--views", VIEWS, "--output", "cache.h5").code == 0
    return folder


@pytest.fixture
def folder(mixed, tmp_path, monkeypatch):
    """A copy of it as the current folder."""
    shutil.copytree(mixed, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def weights(name):
    return runs.find(Path("runs"), name).weights.read_bytes()


def test_a_cache_is_exported_for_the_mixtures_that_its_teacher_was_trained_on(mixed):
    cache = Cache.open(mixed / "cache.h5")
    assert Policy.from_json(cache.attributes["policy"], "") == Policy(POLICY)
    assert cache.layout.entries == VIEWS * cache.layout.rows


def test_only_view_0_is_what_a_cache_without_mixtures_holds(ltkd, folder):
    assert ltkd("export-logits", "--policy", "crop", "--views", 3, "--output", "plain.h5").code == 0
    mixtures, plain = (Cache.open(folder / name) for name in ("cache.h5", "plain.h5"))
    rows = torch.arange(mixtures.layout.rows)
    same = [
        torch.isclose(*(
            cache.read(rows, torch.full_like(rows, view), frozenset({"logits"}))["logits"]
            for cache in (mixtures, plain)
        ), atol=1e-2).all(1).double().mean()
        for view in range(VIEWS)
    ]  # fmt: skip
    assert same[0] == 1
    assert max(same[1:]) < 0.5


@pytest.mark.parametrize("method", ["ce", "cbd", "krdistill"])
def test_students_train_on_the_mixtures_of_their_cache(ltkd, folder, method):
    given = ("--cache", "cache.h5", "--method", method, "--epochs", 1, "--name", "student")
    said = ltkd("distill", *TINY, *given)
    assert said.code == 0, said.err
    run = runs.find(Path("runs"), "student")
    assert Policy(run.settings["views"]) == Policy(POLICY)
    assert run.record["scores"]["all"]["accuracy"] > 0


def test_crd_refuses_mixtures(ltkd, folder):
    said = ltkd("distill", *TINY, "--cache", "cache.h5", "--method", "crd")
    assert refused(said, 2, "crd", "--policy crop")
    assert POLICY.split(":")[0] in said.err
    assert len(list((folder / "runs").iterdir())) == 1


def exported_by_hint(ltkd, said):
    """What the cache says that the advised command makes."""
    assert said.code != 0
    known = {*Path().rglob("*.h5")}
    assert ltkd("teach", *TINY, "--epochs", 1, "--name", "newer").code == 0
    done = ltkd(*advised(said), "--force")
    assert done.code == 0, done.err
    (made,) = {*Path().rglob("*.h5")} - known
    return Cache.open(made)


def test_the_hint_for_views_that_are_not_mixed_keeps_the_teacher(ltkd, folder):
    said = ltkd("distill", *TINY, "--cache", "cache.h5", "--method", "crd")
    made = exported_by_hint(ltkd, said)
    assert (made.attributes["view_policy"], made.attributes["teacher_run"]) == ("crop", "teacher")
    assert made.layout.entries == VIEWS * made.layout.rows


def test_the_hint_for_mixtures_keeps_the_teacher(ltkd, folder):
    given = ("--policy", "crop", "--views", VIEWS, "--view-seed", 5, "--dtype", "float32")
    assert ltkd("export-logits", *given, "--output", "plain.h5").code == 0
    said = ltkd("distill", *TINY, "--method", "kd", "--cache", "plain.h5", "--mixup", 0.2)
    made = exported_by_hint(ltkd, said)
    held = made.attributes
    assert Policy.from_json(held["policy"], "") == Policy("crop+mixup:0.2", 5)
    assert (held["teacher_run"], made.layout.dtype) == ("teacher", "float32")
    assert made.layout.entries == VIEWS * made.layout.rows


def test_the_hint_for_caches_of_different_views_keeps_the_teacher(ltkd, folder):
    given = ("--policy", "crop", "--views", 2, "--no-features", "--output", "plain.h5")
    assert ltkd("export-logits", *given).code == 0
    caches = ("--cache", "cache.h5", "--cache", "plain.h5")
    made = exported_by_hint(ltkd, ltkd("distill", *TINY, "--method", "kd", *caches))
    assert made.attributes["teacher_run"] == "teacher"
    assert Policy(made.attributes["view_policy"]) == Policy(POLICY)
    assert (made.layout.entries, made.layout.width) == (2 * made.layout.rows, 0)


def test_an_export_of_mixtures_that_is_stopped_goes_on_to_the_same_bytes(ltkd, folder, monkeypatch):
    written, write = [], writer.CacheWriter.write

    def stopped(self, *arguments):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(1)
        write(self, *arguments)

    command = ("export-logits", "--views", VIEWS, "--output", "again.h5")
    with monkeypatch.context() as patch:
        patch.setattr(writer.CacheWriter, "write", stopped)
        patch.setattr(writer, "SYNC_SECONDS", 0.0)
        assert ltkd(*command).code == 130
    assert not (folder / "again.h5").exists()
    assert ltkd(*command).code == 0
    assert datasets(folder / "again.h5") == datasets(folder / "cache.h5")


def test_a_training_on_mixtures_that_is_stopped_goes_on_to_the_same_bytes(ltkd, folder):
    given = ("--cache", "cache.h5", "--method", "lfme", "--epochs", 2, "--log-every", 1)
    assert ltkd("distill", *TINY, *given, "--name", "whole").code == 0
    said = ltkd("distill", *TINY, *given, "--name", "mine", stderr=ctrl_c("epoch 1: "))
    assert said.code == 130
    assert ltkd("distill", "--resume", "mine").code == 0
    assert weights("mine") == weights("whole")


def test_mixup_and_cutmix_of_teach_are_steps_of_its_policy(ltkd, folder):
    given = ("--mixup", 0.8, "--cutmix", 1, "--policy", "crop", "--epochs", 2, "--name", "short")
    assert ltkd("teach", *TINY, *given).code == 0
    assert weights("short") == weights("teacher")
    own, other = (runs.find(Path("runs"), name).settings for name in ("short", "teacher"))
    assert own == other


def test_a_classifier_is_retrained_on_views_that_are_not_mixed(ltkd, folder):
    path = folder / "runs/teacher/run.json"
    command = ("rebalance", "teacher", "--strategy", "crt", "--epochs", 3, "--views", 2)
    for name, views in (("mixed", POLICY), ("unmixed", "crop")):
        edit(path, lambda record, views=views: record["settings"].update(views=views))
        assert ltkd(*command, "--validation", 5, "--name", name).code == 0
    assert weights("mixed") == weights("unmixed")


def test_a_run_that_mixed_its_batches_is_used_but_not_resumed(ltkd, folder):
    """As version 0.1 did: the recipe says so, and the policy does not."""
    path = folder / "runs/teacher/run.json"

    def change(record):
        record["settings"]["views"] = "crop"
        record["settings"]["recipe"]["mixup"] = 0.8

    edit(path, change)
    said = ltkd("export-logits", "teacher", "--views", 2, "--output", "old.h5")
    assert said.code == 0, said.err
    assert Cache.open(folder / "old.h5").attributes["view_policy"] == "crop"
    edit(path, lambda record: record.update(status="interrupted"))
    assert refused(ltkd("teach", "--resume", "teacher"), 1, "teacher", "ltkd teach")


def test_an_entry_holds_the_output_for_the_mixture_that_any_batch_shows(mixed):
    cache, data = Cache.open(mixed / "cache.h5"), load(DataSpec())
    network = models.load(mixed / "runs/teacher/model.safetensors").eval()

    rows = torch.tensor([452, 3, 3, 77])  # in any order and any batch
    views = torch.tensor([2, 1, 2, 0])
    seen = render(data.train.images.gather, rows, views, Policy(POLICY), len(data.train.labels))
    with torch.inference_mode():
        logits = network(to_float(seen.images))["logits"].numpy()
    stored = cache.read(rows, views, frozenset({"logits"}))["logits"].numpy()
    np.testing.assert_allclose(stored, logits, rtol=2.0**-10, atol=1e-3)
