"""`export-logits RUN RUN ...`: the mean of several teachers' logits, as one cache."""

import json
import shutil
import signal
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest
from driving import refused
from foreign_files import stored
from run_examples import edit

from ltkd_cli import inference
from ltkd_cli.cache import Cache, CacheWriter

SHORT = ("--epochs", 1, "--evaluate-every", 0, "--precision", "float32")
FIRST = "0001-teach-ce-resnet8"


@pytest.fixture(scope="module")
def told_of_two(ltkd, told, tmp_path_factory):
    """The story with a teacher of another architecture, `other`; not to be changed."""
    folder = tmp_path_factory.mktemp("two")
    shutil.copytree(told / "runs", folder / "runs")
    more = ("--method", "balanced-softmax", "--head", "cosine:20", "--seed", 1)
    with chdir(folder):
        assert ltkd("teach", "--model", "resnet14", *SHORT, *more, "--name", "other").code == 0
    return folder


@pytest.fixture
def two(told_of_two, tmp_path, monkeypatch):
    """A copy of it as the current folder."""
    shutil.copytree(told_of_two / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_holds_the_mean_of_the_single_caches(ltkd, two):
    for name in (FIRST, "other"):
        assert ltkd("export-logits", name, "--views", 3, "--force", "-o", f"{name}.h5").code == 0
    said = ltkd("export-logits", FIRST, "other", "--views", 3, "-o", "mean.h5", "--force")
    assert said.code == 0, said.err
    assert "no features" in said.err
    wanted = (stored(f"{FIRST}.h5") + stored("other.h5")) / 2
    assert np.abs(stored("mean.h5") - wanted).max() < 2e-3 * np.abs(wanted).max()
    cache = Cache.open(Path("mean.h5"))
    assert cache.layout.names == {"logits"}
    assert cache.attributes["teacher_runs"].keys() == {FIRST, "other"}
    assert cache.attributes["teacher_method"] == "ce and balanced-softmax"


def test_is_in_the_first_run_s_folder_and_teaches(ltkd, two):
    assert ltkd("export-logits", FIRST, "other", "--views", 2, "--force").code == 0
    assert len(list(Path(f"runs/{FIRST}").glob("cache-mean2-*.h5"))) == 1
    said = ltkd(
        "distill", "--method", "kd", *SHORT, "--name", "student", "--force", "--model", "resnet8"
    )
    assert said.code == 0, said.err
    (cache,) = json.loads(ltkd("runs", "show", "student", "--json").out)["ancestors"]
    assert [(each["name"], each["there"]) for each in cache["ancestors"]] == [
        (FIRST, True),
        ("other", True),
    ]
    features = ltkd("distill", "--method", "crd", *SHORT, "--force")
    assert refused(features, 3, "features", f"ltkd export-logits runs/{FIRST} --views 2")


def test_goes_on_where_it_was_stopped(ltkd, two, monkeypatch):
    monkeypatch.setattr(inference, "BATCH", 192)
    write, written = CacheWriter.write, []

    def stopped_once(self, start, *values):
        written.append(start)
        if len(written) == 4:
            signal.raise_signal(signal.SIGINT)
        write(self, start, *values)

    monkeypatch.setattr(CacheWriter, "write", stopped_once)
    export = ("export-logits", FIRST, "other", "--views", 3, "-o", "mean.h5", "--force")
    assert ltkd(*export).code == 130
    said = ltkd("cache", "info", "mean.h5")
    assert refused(said, 1, "mean.h5", f"ltkd export-logits {FIRST} other --views 3")
    assert ltkd(*export).code == 0
    assert written == sorted({*written})  # nothing is computed twice
    assert (
        ltkd("export-logits", FIRST, "other", "--views", 3, "-o", "whole.h5", "--force").code == 0
    )
    assert np.array_equal(stored("mean.h5"), stored("whole.h5"))


def test_the_order_and_the_number_of_runs_matter(ltkd, two):
    assert ltkd("export-logits", FIRST, "other", "--views", 1, "-o", "mean.h5", "--force").code == 0
    said = ltkd("export-logits", FIRST, 2, "--views", 1, "-o", "mean.h5")
    assert refused(said, 3, "teacher_runs", "--force")


def copied(**changed):
    """A run `x` like the first, but for some fields of its record."""
    shutil.copytree(f"runs/{FIRST}", "runs/x")

    def change(record):
        for part, values in changed.items():
            record[part] |= values

    edit(Path("runs/x/run.json"), change)


GROUPS = {"rule": "counts", "of_class": ["head"] * 5 + ["tail"] * 5}

BAD = {
    "twice": ({}, (FIRST, FIRST), 2, "twice"),
    "by another name": ({}, (FIRST, "1"), 2, "twice"),
    "no run": ({}, (FIRST, "none"), 1, "'none'"),
    "other images": ({"data": {"train": "0" * 64}}, (FIRST, "x"), 3, "training images"),
    "other classes": ({"data": {"class_names": [*"9876543210"]}}, (FIRST, "x"), 3, "classes"),
    "other groups": ({"data": {"groups": GROUPS}}, (FIRST, "x"), 3, "head, medium and tail"),
    "an expert": ({"settings": {"classes": "tail"}}, (FIRST, "x"), 2, "expert"),
    "other views": ({"settings": {"views": "flip"}}, (FIRST, "x"), 2, "--policy"),
    "other weights": ({}, (FIRST, "2"), 4, "model.safetensors"),
}


@pytest.mark.parametrize("case", BAD)
def test_runs_that_have_no_mean_are_refused(ltkd, story, case):
    changed, which, code, name = BAD[case]
    if changed:
        copied(**changed)
    if case == "other weights":
        shutil.copy(f"runs/{FIRST}/model.safetensors", "runs/0002-distill-bkd-resnet8")
    said = ltkd("export-logits", *which, "-o", "mean.h5")
    assert refused(said, code, name)
    assert not Path("mean.h5").exists()


def test_a_run_that_is_not_done_is_refused(ltkd, story):
    file = Path("runs/0002-distill-bkd-resnet8/run.json")
    edit(file, lambda record: record.update(status="running"))
    assert refused(ltkd("export-logits", 1, 2), 1, "interrupted", "--resume")
