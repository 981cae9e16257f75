"""Training state in a file: what was saved goes on, and nothing else does."""

import errno
import hashlib
import io
import os
import pickle
from random import Random

import pytest
import torch

from ltkd_cli import models
from ltkd_cli.data import DataSpec, load
from ltkd_cli.errors import CheckpointError
from ltkd_cli.methods.contract import Task
from ltkd_cli.methods.finding import find
from ltkd_cli.models import ModelSpec
from ltkd_cli.training.loop import Training, begin
from ltkd_cli.training.recipe import Recipe
from ltkd_cli.training.state import load_state, save_state

CPU = torch.device("cpu")
SHORT = Recipe(epochs=3, batch_size=64, learning_rate=0.05, schedule="cosine")


@pytest.fixture(scope="module")
def digits():
    return load(DataSpec())


def start(data, recipe, head="linear"):
    classes = len(data.train.class_names)
    spec = ModelSpec("resnet8", classes, head, mean=data.mean, std=data.std)
    network = models.build(spec, seed=0)
    counts = torch.tensor(data.train.class_counts())
    task = Task(counts, data.train.labels, data.groups, network.width)
    return begin(network, find("ce")(task), recipe, CPU)


@pytest.fixture(scope="module")
def saved(digits, tmp_path_factory):
    """The bytes of a state of the run `own`; of a network whose state is small."""
    path = tmp_path_factory.mktemp("saved") / "state.pt"
    save_state(start(digits, SHORT), path, "own")
    return path.read_bytes()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.pt"


def refused(training, path, run="own"):
    """Loads what must be refused by one sentence of ours, which names the file."""
    with pytest.raises(CheckpointError, match=r"state\.pt") as caught:
        load_state(training, path, run)
    assert "weights_only" not in f"{caught.value.problem} {caught.value.hint}"
    assert "\n" not in caught.value.problem


def test_no_flipped_bit_goes_unseen(digits, saved, path):
    training, random = start(digits, SHORT), Random(0)
    places = {random.randrange(8 * len(saved)) for _ in range(300)}
    for place in places | set(range(8 * 90)):  # and every bit of the first line
        bad = bytearray(saved)
        bad[place // 8] ^= 1 << place % 8
        path.write_bytes(bad)
        refused(training, path)


@pytest.mark.parametrize(
    "change", [lambda s: b"", lambda s: s[:-1], lambda s: s[:50], lambda s: s + b"0"]
)
def test_a_state_that_is_cut_or_longer_is_refused(digits, saved, path, change):
    path.write_bytes(change(saved))
    refused(start(digits, SHORT), path)


def test_a_state_of_another_run_is_refused(digits, saved, path):
    path.write_bytes(saved)
    refused(start(digits, SHORT), path, "another")
    assert load_state(start(digits, SHORT), path, "own") is None


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("harm",)


def pretend(content, run="own"):
    """A file with a right checksum around other contents."""
    digest = hashlib.sha256(run.encode() + b"\n" + content).hexdigest()
    return f"ltkd-state-1 {digest} {run}\n".encode() + content


def torch_saved(value):
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


CONTENTS = {
    "text": b"not a state",
    "nothing": b"",
    "pickle": pickle.dumps(Harmful()),
    "old pickle": pickle.dumps(Harmful(), 0),
    "torch with pickle": torch_saved(Harmful()),
    "list": torch_saved([1, 2]),
    "empty": torch_saved({}),
    "odd epoch": torch_saved({"epoch": "1", "batch": 0}),
    "negative epoch": torch_saved({"epoch": -1, "batch": 0}),
    "only counts": torch_saved({"epoch": 1, "batch": 0}),
}


@pytest.mark.parametrize(("gpus", "own"), [(1, 0), (4, 3)], ids=["now", "0.1.0, of four GPUs"])
def test_a_gpu_takes_up_its_own_random_state_or_the_last_there_is(digits, monkeypatch, gpus, own):
    training, taken = start(digits, SHORT), []
    states = [torch.full((4,), number, dtype=torch.uint8) for number in range(gpus)]
    monkeypatch.setattr(Training, "device", property(lambda self: torch.device("cuda", 7)))
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: states[0])
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda *given: taken.append(given))
    training.restore({**training.snapshot(), "random_gpu": states})
    ((state, device),) = taken
    assert torch.equal(state, states[own])
    assert device.index == 7


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
@pytest.mark.parametrize("wrap", [lambda content: content, pretend], ids=["plain", "checksum"])
def test_other_contents_are_refused_and_nothing_in_them_runs(
    digits, path, monkeypatch, content, wrap
):
    monkeypatch.chdir(path.parent)
    path.write_bytes(wrap(content))
    refused(start(digits, SHORT), path)
    assert [each.name for each in path.parent.iterdir()] == ["state.pt"]


def test_a_state_of_another_network_is_refused(digits, path):
    save_state(start(digits, SHORT, head="cosine:16"), path, "own")
    refused(start(digits, SHORT), path)


def test_a_pipe_is_not_waited_for(digits, path):
    os.mkfifo(path)
    refused(start(digits, SHORT), path)


def test_a_state_of_version_0_1_is_taken_up_with_a_warning(digits, path):
    first = start(digits, SHORT)
    with torch.no_grad():
        first.network.head.weight.add_(1)
    torch.save(first.snapshot(), path)
    second = start(digits, SHORT)
    assert "state.pt" in load_state(second, path, "own").text
    assert torch.equal(second.network.head.weight, first.network.head.weight)


def test_damage_to_the_numbers_of_a_state_of_version_0_1_is_seen(digits, path):
    torch.save(start(digits, SHORT).snapshot(), path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    refused(start(digits, SHORT), path)


@pytest.mark.parametrize("name", [".state.pt.new", "state.pt"])
def test_saving_follows_no_link_that_somebody_else_put_there(digits, tmp_path, name):
    outside, folder = tmp_path / "outside", tmp_path / "run"
    outside.write_text("mine")
    folder.mkdir()
    (folder / name).symlink_to(outside)
    save_state(start(digits, SHORT), folder / "state.pt")
    assert outside.read_text() == "mine"
    assert load_state(start(digits, SHORT), folder / "state.pt") is None


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
