"""Trainings that are stopped or killed go on to the very weights of an uninterrupted one."""

import errno
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import chdir, contextmanager
from pathlib import Path

import pytest
import torch
from driving import advised, ctrl_c, disk_of, refused, result_of
from run_examples import edit

from ltkd_cli import runs
from ltkd_cli.commands import train as training
from ltkd_cli.commands.prepare import prepare
from ltkd_cli.errors import CacheDamaged
from ltkd_cli.events import Step

EPOCHS = 5
LONG = ("--model", "resnet8", "--epochs", EPOCHS, "--evaluate-every", 3, "--precision", "float32",
        "--log-every", 1)  # fmt: skip
TIMES = ("images_per_second", "waiting", "checksum")


def metrics(folder, without=TIMES):
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{name: line[name] for name in line if name not in without} for line in lines]


@pytest.fixture(scope="module")
def whole(ltkd, told, tmp_path_factory):
    """Folders of an uninterrupted run of each command."""
    folder = tmp_path_factory.mktemp("whole")
    shutil.copytree(told / "runs", folder / "runs")
    with chdir(folder):
        for command in ("teach", "distill"):
            assert ltkd(command, *LONG, "--name", command).code == 0
    return folder / "runs"


def assert_same_run(folder, whole):
    assert (folder / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert (folder / "per_class.csv").read_bytes() == (whole / "per_class.csv").read_bytes()
    assert metrics(folder) == metrics(whole)
    assert not (folder / "state.pt").exists()


@pytest.mark.parametrize("command", ["teach", "distill"])
def test_ctrl_c_keeps_the_run_and_resume_ends_in_the_same_bytes(ltkd, story, whole, command):
    folder = story / "runs/mine"
    said = ltkd(command, *LONG, "--name", "mine", stderr=ctrl_c("epoch 3: "))
    assert said.code == 130
    assert said.err.splitlines()[-1] == f"try: ltkd {command} --resume runs/mine"
    assert [line["epoch"] for line in metrics(folder)] == [1, 2, 3]
    assert json.loads((folder / "run.json").read_text())["status"] == "interrupted"
    assert (folder / "state.pt").exists()

    resumed = ltkd(command, "--resume", "runs/mine")
    assert resumed.code == 0
    assert "resuming after epoch" in resumed.err
    assert_same_run(folder, whole / command)


def test_stopped_again_and_again_it_still_ends_in_the_same_bytes(ltkd, story, whole):
    folder = story / "runs/mine"
    command = ("teach", *LONG, "--name", "mine")
    more = ()
    for epoch in range(1, EPOCHS):
        said = ltkd(*command, *more, stderr=ctrl_c(f"epoch {epoch}: "))
        assert said.code == 130
        again = advised(said)
        assert again[:3] == ["teach", "--resume", "runs/mine"]
        assert sorted(again[3:]) == sorted(more)
        command, more = ("teach", "--resume=last"), ("--device", "cpu", "--log-every", "1")
    command = again
    assert ltkd(*command).code == 0
    assert_same_run(folder, whole / "teach")


def test_a_state_that_a_kill_left_in_a_finished_run_goes(ltkd, story):
    state = runs.find(Path("runs"), "1").state
    state.write_bytes(b"left by a kill between the record and this file")
    assert ltkd("teach", "--resume", "1").code == 0
    assert not state.exists()


def test_a_run_goes_on_with_as_many_threads_as_it_began_with(ltkd, story):
    try:
        torch.set_num_threads(2)  # with which sums come out otherwise than with one
        assert ltkd("teach", *LONG, "--name", "whole").code == 0
        assert ltkd("teach", *LONG, "--name", "stopped", stderr=ctrl_c("epoch 2")).code == 130
        torch.set_num_threads(1)
        assert ltkd("teach", "--resume", "stopped").code == 0
    finally:
        torch.set_num_threads(1)
    assert_same_run(Path("runs/stopped"), Path("runs/whole"))


def test_a_second_ctrl_c_stops_at_once_and_the_run_can_still_go_on(ltkd, story, whole):
    said = ltkd("teach", *LONG, "--name", "mine", stderr=ctrl_c("epoch 3: ", times=2))
    assert said.code == 130
    assert said.err.splitlines()[-1] == "try: ltkd runs"
    assert runs.find(Path("runs"), "mine").status == "interrupted"
    assert ltkd("teach", "--resume", "last").code == 0
    assert_same_run(story / "runs/mine", whole / "teach")


class ClosedPipe(io.StringIO):
    """Standard error that nobody reads any more once a certain text appears there."""

    def write(self, written):
        if "epoch 2: " in written:
            raise BrokenPipeError
        return super().write(written)


def test_a_run_whose_reader_is_gone_keeps_its_state(ltkd, story, whole):
    assert ltkd("teach", *LONG, "--name", "mine", stderr=ClosedPipe()).code == 0
    assert (story / "runs/mine/state.pt").exists()
    resumed = ltkd("teach", "--resume", "mine")
    assert "resuming after epoch 2" in resumed.err
    assert_same_run(story / "runs/mine", whole / "teach")


def test_a_state_is_never_kept_between_batches_that_share_a_step(ltkd, story, monkeypatch):
    kept = []
    keep = training.save_state
    monkeypatch.setattr(training, "SECONDS_BETWEEN_STATES", 0)
    monkeypatch.setattr(
        training, "save_state", lambda state, *to: (kept.append(state.batch), keep(state, *to))
    )
    said = ltkd("teach", *LONG, "--accumulate", 4, "--profile", "--name", "mine")
    assert said.code == 0
    assert len(kept) > EPOCHS
    assert [batch for batch in kept if batch % 4] == []


def test_the_end_of_the_terminal_keeps_the_state(ltkd, story, whole):
    hangup = ctrl_c("epoch 2: ", number=signal.SIGHUP)
    assert ltkd("teach", *LONG, "--name", "mine", stderr=hangup).code == 130
    assert ltkd("teach", "--resume", "mine").code == 0
    assert_same_run(story / "runs/mine", whole / "teach")


def test_ctrl_c_before_anything_was_begun_is_said_too(ltkd, story):
    said = ltkd("distill", *LONG, stderr=ctrl_c("using the newest cache"))
    assert said.code == 130
    assert said.err.splitlines()[-1] == "try: ltkd runs"
    assert len(list((story / "runs").iterdir())) == 3


KILLED = """
import io, os, signal, sys
from ltkd_cli.cli.app import run
from ltkd_cli.commands import train as training
from ltkd_cli.commands.prepare import prepare

class Killed(io.StringIO):
    def write(self, text):
        if text.startswith(sys.argv[1]):
            os.kill(os.getpid(), signal.SIGKILL)
        return len(text)

training.SECONDS_BETWEEN_STATES = float(sys.argv[2])
sys.stderr = Killed()
run(sys.argv[3:])
"""


@pytest.mark.parametrize(
    ("moment", "seconds_between_states"), [("  epoch 4: ", 0), ("  epoch 3: ", 99)]
)
def test_a_killed_training_ends_in_the_same_bytes(
    ltkd, story, whole, moment, seconds_between_states
):
    folder = story / "runs/mine"
    command = ["teach", *LONG, "--name", "mine"]
    script = [sys.executable, "-c", KILLED, moment, seconds_between_states, *command]
    assert subprocess.run([*map(str, script)], check=False).returncode == -signal.SIGKILL
    assert json.loads((folder / "run.json").read_text())["status"] == "running"
    assert runs.find(Path("runs"), "mine").status == "interrupted"  # nobody holds it any more
    assert (folder / "state.pt").exists() is (seconds_between_states == 0)

    said = ltkd("teach", "--resume", "last")
    assert said.code == 0
    assert_same_run(folder, whole / "teach")


def test_a_run_can_be_trained_by_one_process_at_a_time(ltkd, story):
    run = runs.find(Path("runs"), "1")
    run.update(status="interrupted")
    with run.held():
        assert run.status == "running"
        said = ltkd("teach", "--resume", "1")
        assert refused(said, 1, run.name)
        assert ltkd("teach", "--resume", "last").code == 1
        assert "running" in ltkd("runs").out
        assert refused(ltkd("eval", "1"), 1, run.name, "ltkd runs show")
    assert run.status == "interrupted"


def test_a_finished_run_has_nothing_to_resume(ltkd, story):
    before = (story / "runs/0001-teach-ce-resnet8/model.safetensors").stat().st_mtime_ns
    said = ltkd("teach", "--resume", "1")
    assert said.code == 0
    assert "0001-teach-ce-resnet8 is finished" in said.err
    assert (story / "runs/0001-teach-ce-resnet8/model.safetensors").stat().st_mtime_ns == before


def test_a_resumed_run_may_keep_its_data_and_compute_elsewhere(ltkd, story):
    run = runs.find(Path("runs"), "2")
    run.update(status="interrupted")
    machine = ("--resident", "never", "--device", "cpu")
    assert refused(ltkd("distill", "--resume", "2", "--resident", "x"), 2, "--resident")
    assert ltkd("distill", "--resume", "2", *machine).code == 0
    again = runs.find(Path("runs"), "2")
    assert again.record["weights_sha256"] == run.record["weights_sha256"]
    assert (again.settings["resident"], again.identity) == ("auto", run.identity)


def test_the_time_of_a_resumed_run_is_that_of_all_its_parts(ltkd, story):
    runs.find(Path("runs"), "2").update(status="interrupted", seconds=1000.0)
    assert ltkd("distill", "--resume", "2").code == 0
    assert runs.find(Path("runs"), "2").record["seconds"] > 1000


def test_a_resumed_training_logs_from_its_next_epoch_on(ltkd, empty, monkeypatch):
    begun = []

    @contextmanager
    def event_files(folder, first_epoch):
        begun.append(first_epoch)
        yield lambda record: None

    monkeypatch.setattr(training, "event_files", event_files)
    short = ("--model", "resnet8", "--epochs", 3, "--batch-size", 256, "--log-every", 1)
    said = ltkd("teach", *short, "--tensorboard", stderr=ctrl_c("epoch 2: "))
    assert said.code == 130
    assert ltkd("teach", "--resume", 1, "--tensorboard").code == 0
    assert begun == [1, 3]


def test_a_diverged_run_is_failed_and_not_the_last_to_resume(ltkd, story):
    said = ltkd("teach", "--model", "resnet8", "--epochs", 2, "--learning-rate", "1e9")
    assert refused(said, 1, "epoch 1", "--learning-rate")
    assert runs.find(Path("runs"), "4").status == "failed"
    assert ltkd("teach", "--resume", "last").code == 1


def test_a_state_of_another_training_is_a_checkpoint_error(ltkd, story):
    run = runs.find(Path("runs"), "1")
    run.update(status="interrupted")
    run.state.write_bytes(b"not a state")
    assert refused(ltkd("teach", "--resume", "1"), 4, "state.pt")


@pytest.mark.parametrize("command", ["eval", "export-logits", "rebalance"])
def test_an_unfinished_run_has_no_scores_and_no_weights(ltkd, story, command):
    runs.find(Path("runs"), "2").update(status="interrupted")
    hint = "ltkd distill --resume runs/0002-distill-bkd-resnet8"
    assert refused(ltkd(command, "2"), 1, "0002-distill-bkd-resnet8", hint)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_the_images_of_a_resumed_run_must_be_the_same(ltkd, story, split):
    run = runs.find(Path("runs"), "1")
    run.update(status="interrupted", data={**run.record["data"], split: "0" * 64})
    scores = run.record["scores"]
    assert refused(ltkd("teach", "--resume", "1"), 3, run.name, "ltkd teach")
    assert runs.find(Path("runs"), "1").record["scores"] == scores


def test_the_teacher_s_outputs_for_a_resumed_student_must_be_the_same(ltkd, story, cache):
    assert ltkd("distill", *LONG, "--name", "mine", stderr=ctrl_c("epoch 2: ")).code == 130
    assert ltkd("teach", *LONG, "--seed", 3, "--name", "other").code == 0
    assert ltkd("export-logits", "other", "--views", 4, "-o", cache, "--force").code == 0
    assert refused(ltkd("distill", "--resume", "mine"), 3, str(cache), "ltkd distill --config")


def test_a_disk_that_is_full_is_named_and_the_run_can_go_on(ltkd, story, whole):
    with disk_of(100_000):  # the state takes more
        said = ltkd("teach", *LONG, "--name", "mine", stderr=ctrl_c("epoch 2: "))
    assert refused(said, 1, "runs/mine", "ltkd teach --resume runs/mine")
    assert ltkd("teach", "--resume", "mine").code == 0
    assert_same_run(story / "runs/mine", whole / "teach")


def test_an_error_of_another_file_is_not_said_to_be_the_run_s(story):
    def unplugged(network, inputs):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "/elsewhere/1.png")

    asked = {"model": "resnet8", "method": "ce", "recipe": {"epochs": 1}}
    prepared = result_of(prepare(Path("runs"), "teach", asked))
    prepared.network.register_forward_pre_hook(unplugged)
    with pytest.raises(FileNotFoundError, match="elsewhere"):
        result_of(training.start(Path("runs"), "teach", prepared, "mine"))


def test_dropout_is_drawn_by_the_seed_whatever_was_drawn_before(empty):
    asked = {"model": "resnet8", "method": "ce", "recipe": {"epochs": 1}}
    made = []
    for before in (1, 2):
        prepared = result_of(prepare(Path("runs"), "teach", asked))
        prepared.network.projection = torch.nn.Dropout()
        torch.manual_seed(before)
        made.append(result_of(training.start(Path("runs"), "teach", prepared, f"mine-{before}")))
    first, second = (run.record["weights_sha256"] for run in made)
    assert first == second


def test_a_cache_that_is_written_to_in_the_last_epoch_leaves_no_weights(ltkd, story, cache):
    folder, right = story / "runs/mine", cache.read_bytes()
    asked = {"model": "resnet8", "method": "kd", "caches": [str(cache)], "recipe": {"epochs": 2}}
    prepared = result_of(prepare(Path("runs"), "distill", asked))

    def meddled():
        for event in training.start(Path("runs"), "distill", prepared, "mine"):
            yield event
            if isinstance(event, Step) and (event.epoch, event.batch) == (1, 1):
                with cache.open("r+b") as file:
                    file.seek(len(right) // 2)
                    file.write(bytes(1000))

    with pytest.raises(CacheDamaged, match="was changed"):
        result_of(meddled())
    assert not (folder / "model.safetensors").exists()
    assert json.loads((folder / "run.json").read_text())["status"] != "done"
    cache.write_bytes(right)
    assert ltkd("distill", "--resume", "mine").code == 0


@pytest.mark.parametrize(
    "change",
    [
        {"model": None},
        {"recipe": {"epochs": "many"}},
        {"recipe": []},
        {"caches": "cache.h5"},
        {"nonsense": 1},
        {"seed": True},
    ],
    ids=str,
)
def test_odd_settings_in_a_run_json_are_named(ltkd, story, change):
    path = runs.find(Path("runs"), "1").path / "run.json"

    def spoil(record):
        record["status"] = "interrupted"
        record["settings"].update(change)

    edit(path, spoil)
    said = ltkd("teach", "--resume", path.parent)
    assert said.code in (1, 4)  # of the record as a whole, or of the settings alone
    assert refused(said, said.code, next(iter(change)))
    assert str(path) in said.err


def test_missing_settings_in_a_run_json_are_named(ltkd, story):
    run = runs.find(Path("runs"), "1")
    kept = {name: value for name, value in run.settings.items() if name != "model"}
    run.update(status="interrupted", settings=kept)
    assert refused(ltkd("teach", "--resume", "1"), 1, "model")


def test_a_policy_in_a_run_json_that_does_not_exist_is_named(ltkd, story):
    run = runs.find(Path("runs"), "1")
    run.update(status="interrupted", settings={**run.settings, "views": "crop+swirl"})
    assert refused(ltkd("teach", "--resume", "1"), 1, "swirl")
