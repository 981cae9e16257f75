"""One small story, a teacher, its cache and two students, that tests read or copy and change."""

from __future__ import annotations

import shutil
from contextlib import chdir
from pathlib import Path

import pytest
import torch

from benchmarks.faults.calling import call

TINY = ("--model", "resnet8", "--evaluate-every", "0", "--precision", "float32")


@pytest.fixture(scope="session")
def ltkd():
    """Runs one command line; gives its exit code and what it wrote, to `stderr` if given.

    Without a GPU, where there is one: it may add in another order each time, and much is compared
    bit for bit.
    """

    def on_the_cpu(*arguments, **options):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.cuda, "is_available", lambda: False)
            patch.setenv("CUDA_VISIBLE_DEVICES", "")  # for the processes of several students
            return call(*arguments, **options)

    return on_the_cpu


@pytest.fixture(scope="session")
def told(ltkd, tmp_path_factory):
    """The folder in which the story was told once; not to be changed."""
    folder = tmp_path_factory.mktemp("story")
    with chdir(folder):
        assert ltkd("teach", *TINY, "--epochs", 3).code == 0
        assert ltkd("export-logits", "--views", 4).code == 0
        for seed in (0, 1):
            assert ltkd("distill", *TINY, "--epochs", 1, "--seed", seed).code == 0
    return folder


@pytest.fixture
def story(told, tmp_path, monkeypatch):
    """A copy of the story as the current folder."""
    shutil.copytree(told / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """An empty folder as the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def cache(story):
    """The cache of the story, by the path that a user types."""
    return Path("runs/0001-teach-ce-resnet8/cache-crop-4.h5")
