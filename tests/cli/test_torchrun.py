"""Two processes of torchrun that train one network, or fill one cache."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from driving import datasets, refused

from ltkd_cli import runs
from ltkd_cli.cli import app
from ltkd_cli.errors import Interrupted

TINY = ("--model", "resnet8", "--evaluate-every", "0", "--precision", "float32", "--device", "cpu")
WAIT = 120


def torchrun(*arguments):
    """A command line of ltkd in two processes, begun."""
    begin = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    return subprocess.Popen(
        [*begin, "-m", "ltkd_cli", *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def said(*arguments):
    """What they wrote."""
    process = torchrun(*arguments)
    text = process.communicate(timeout=WAIT)[0]
    assert process.returncode == 0, text
    return text


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A folder with a run that two processes trained."""
    folder = tmp_path_factory.mktemp("shared")
    root = folder / "runs"
    text = said("teach", *TINY, "--epochs", 4, "--name", "whole", "--runs", root)
    assert text.count("whole: test accuracy") == 1  # one of them speaks
    return root


def test_the_run_is_one_and_says_how_many_trained_it(shared):
    (run,) = runs.all_runs(shared)
    assert run.done
    assert run.settings["processes"] == 2
    assert "by 2 processes of torchrun" in run.config.read_text()
    assert [line["epoch"] for line in run.read_metrics()] == [1, 2, 3, 4]


def test_a_cache_is_byte_for_byte_that_of_one_process(shared, ltkd, tmp_path):
    export = ("export-logits", shared / "whole", "--views", 3, "--device", "cpu")
    assert ltkd(*export, "--output", tmp_path / "one.h5").code == 0
    said(*export, "--output", tmp_path / "two.h5")
    assert datasets(tmp_path / "one.h5") == datasets(tmp_path / "two.h5")


def test_stopped_by_ctrl_c_it_goes_on_to_the_same_weights(shared, tmp_path):
    teach = ("teach", *TINY, "--epochs", 4, "--log-every", 1, "--runs", shared, "--name", "parted")
    process = torchrun(*teach)
    for line in process.stdout:
        if "epoch 1" in line:
            break
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    text = process.communicate(timeout=WAIT)[0]
    run = runs.read(shared / "parted")
    assert run.status == "interrupted", text
    assert f"torchrun --standalone --nproc-per-node=2 -m ltkd_cli teach --resume {run.path}" in text
    said("teach", "--resume", run.path)
    whole, parted = (runs.read(shared / name) for name in ("whole", "parted"))
    assert whole.record["weights_sha256"] == parted.record["weights_sha256"]
    for one, other in zip(whole.read_metrics(), parted.read_metrics(), strict=True):
        assert one["terms"] == other["terms"]


@pytest.fixture
def second_of_three(monkeypatch):
    """The environment of a process of torchrun, before it has met the others."""
    for name, value in (
        ("RANK", 0), ("LOCAL_RANK", 0), ("WORLD_SIZE", 3), ("MASTER_ADDR", "no"), ("MASTER_PORT", 1)
    ):  # fmt: skip
        monkeypatch.setenv(name, str(value))


@pytest.mark.parametrize(
    ("code", "told"),
    [(0, ""), (2, "process 1: mine"), (Interrupted.exit_code, "")],
    ids=["done", "an error", "interrupted"],
)
def test_a_process_that_does_not_speak_for_the_others_tells_of_its_own_errors_alone(
    monkeypatch, capsys, code, told
):
    def run(arguments):
        sys.stdout.write("a result")
        sys.stderr.write("mine")
        return code

    waited = []
    monkeypatch.setattr(app, "run", run)
    monkeypatch.setattr(app.time, "sleep", waited.append)
    monkeypatch.setattr(app.distributed, "rank", lambda: 1)
    assert app._run_along(["teach"]) == code
    assert capsys.readouterr() == ("", told)
    assert waited == [app.SECONDS_FOR_THE_FIRST] * bool(told)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("eval", "1"), ("works in one process", "ltkd eval 1")),
        (("teach", *TINY, "--batch-size", "5"), ("less than two for each", "--batch-size 96")),
        (("teach", "--device", "cuda:1"), ("the GPU of its own", "--device cuda")),
        (("distill", *TINY, "--seeds", "0,1"), ("one student", "--seed 0")),
        (("distill", *TINY, "--method", "crd"), ("earlier batches", "without torchrun")),
        (("distill", *TINY, "--method", "lfme"), ("earlier batches", "without torchrun")),
        (("teach", "--weights", "x", "--freeze"), ("one process", "without torchrun")),
        (("export-logits", "--logits", "x.npy"), ("one process", "without torchrun")),
    ],
    ids=lambda given: given[-1],
)
def test_what_processes_cannot_share_is_refused(ltkd, story, second_of_three, arguments, words):
    before = sorted(Path("runs").iterdir())
    assert refused(ltkd(*arguments), 2, *words)
    assert sorted(Path("runs").iterdir()) == before


def test_other_processes_than_it_had_do_not_go_on_with_a_run(
    shared, ltkd, tmp_path, second_of_three
):
    shutil.copytree(shared / "whole", tmp_path / "begun")
    run = runs.read(tmp_path / "begun")
    run.update(status="interrupted")
    said = ltkd("teach", "--resume", run.path)
    assert refused(
        said,
        1,
        "was begun by 2 processes",
        f"--nproc-per-node=2 -m ltkd_cli teach --resume {run.path}",
    )
