"""One small story, a teacher, its cache and two students, that tests read or copy and change."""

from __future__ import annotations

import io
import shutil
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from ltkd_cli.cli.app import run

TINY = ("--model", "resnet8", "--evaluate-every", "0", "--precision", "float32")


@dataclass(frozen=True)
class Said:
    """What one command line came to."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def ltkd():
    """Runs one command line; gives its exit code and what it wrote, to `stderr` if given."""

    def call(*arguments, stderr=None):
        written = stderr or io.StringIO()
        with redirect_stdout(io.StringIO()) as out, redirect_stderr(written) as err:
            code = run([str(argument) for argument in arguments])
        return Said(code, out.getvalue(), err.getvalue())

    return call


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
