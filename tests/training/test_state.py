"""Training state in a file: what was saved goes on, and nothing else does."""

import errno
import os

import pytest
import torch

from ltkd_cli import models
from ltkd_cli.data import DataSpec, load
from ltkd_cli.errors import CheckpointError
from ltkd_cli.methods.contract import Task
from ltkd_cli.methods.finding import find
from ltkd_cli.models import ModelSpec
from ltkd_cli.training.loop import begin
from ltkd_cli.training.recipe import Recipe
from ltkd_cli.training.state import load_state, save_state

CPU = torch.device("cpu")
SHORT = Recipe(epochs=3, batch_size=64, learning_rate=0.05, schedule="cosine")


@pytest.fixture(scope="module")
def digits():
    return load(DataSpec())


def start(data, recipe, method="ce", **options):
    spec = ModelSpec("resnet8", len(data.train.class_names), mean=data.mean, std=data.std)
    network = models.build(spec, seed=0)
    counts = torch.tensor(data.train.class_counts())
    task = Task(counts, data.train.labels, data.groups, network.width)
    return begin(network, find(method)(task, **options), recipe, CPU)


def test_a_state_that_does_not_fit_is_a_clear_error(digits, tmp_path):
    (tmp_path / "state.pt").write_bytes(b"not a state")
    with pytest.raises(CheckpointError, match=r"state\.pt"):
        load_state(start(digits, SHORT), tmp_path / "state.pt")


def test_a_state_that_cannot_be_written_leaves_the_old_one(digits, tmp_path, monkeypatch):
    training, state = start(digits, SHORT), tmp_path / "state.pt"
    save_state(training, state)
    before = state.read_bytes()

    def full(number):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_state(training, state)
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]
    assert state.read_bytes() == before
