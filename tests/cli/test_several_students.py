"""Several students learn from one cache at the same time, in one command or in several."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import chdir
from multiprocessing.connection import Pipe
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from PIL import Image
from rich.console import Console
from test_bad_options import refused
from test_screen import STEERING

from ltkd_cli import runs
from ltkd_cli.commands import several
from ltkd_cli.commands.train import Watch
from ltkd_cli.console import terminal as console
from ltkd_cli.events import AtWork, Checked, EpochEnd, Note, OfSeed, Step

TINY = ("--model", "resnet8", "--epochs", "2", "--evaluate-every", "0", "--precision", "float32")
LONG = ("--model", "resnet8", "--epochs", "999", "--evaluate-every", "0", "--precision", "float32")


class Listener(io.StringIO):
    """Standard error that acts once, when all the given texts have been written to it."""

    def __init__(self, act, *texts):
        super().__init__()
        self.act, self.texts = act, texts

    def write(self, written):
        length = super().write(written)
        if self.act and all(text in self.getvalue() for text in self.texts):
            act, self.act = self.act, None
            act()
        return length


class Begun(subprocess.Popen):
    """Remembers the processes that were begun, in order, and kills some of them at once."""

    all: ClassVar[list[subprocess.Popen]] = []
    doomed: ClassVar[tuple[int, ...]] = ()

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        if len(self.all) in self.doomed:
            self.kill()
        self.all.append(self)


@pytest.fixture
def begun(monkeypatch):
    """The processes that the test has begun so far."""
    monkeypatch.setattr(Begun, "all", [])
    monkeypatch.setattr(several.subprocess, "Popen", Begun)
    return Begun.all


def press_ctrl_c():
    """As on a terminal, all processes get the signal; students would take several as `at once`."""
    for _ in range(10):
        for process in Begun.all:
            process.send_signal(signal.SIGINT)
        time.sleep(0.01)
    signal.raise_signal(signal.SIGINT)


def run_of(name):
    return runs.find(Path("runs"), name)


@pytest.fixture(scope="module")
def three(ltkd, told, tmp_path_factory):
    """Where three students were trained at once: one ends well, one fails and one is killed."""
    folder = tmp_path_factory.mktemp("three")
    shutil.copytree(told / "runs", folder / "runs")
    spoiled = folder / "runs/mine-8/state.pt"
    stderr = Listener(lambda: spoiled.write_bytes(b"not a state"), "3 students")
    with chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Begun, "all", [])
        patch.setattr(Begun, "doomed", (2,))
        patch.setattr(several.subprocess, "Popen", Begun)
        seeds = ("--seeds", "7,8,9", "--at-once", "3", "--name", "mine")
        said = ltkd("distill", *TINY, *seeds, "--log-every", "1", stderr=stderr)
    return folder, said


def test_one_that_ends_well_is_what_it_is_alone(ltkd, three):
    folder, said = three
    together = folder / "runs/mine-7"
    with chdir(folder):
        alone = ltkd("distill", *TINY, "--seed", "7", "--name", "alone-7")
    for name in ("model.safetensors", "per_class.csv"):
        assert (together / name).read_bytes() == (folder / "runs/alone-7" / name).read_bytes()
    assert [line.split(", ")[:-1] for line in said.out.splitlines()] == [
        line.replace("alone-7", "mine-7").split(", ")[:-1] for line in alone.out.splitlines()
    ]
    record = json.loads((together / "run.json").read_text())
    assert record["environment"]["device"] == "cpu (1 thread)"
    assert record["threads"] == 1


def test_the_cache_is_introduced_once_and_every_line_says_whose_it_is(three):
    _, said = three
    lines = said.err.splitlines()
    assert lines.count("  teacher             resnet8 trained by ce") == 1
    assert sum(line.startswith("  seed 7, epoch ") for line in lines) == 2
    assert not any(line.startswith("  epoch ") for line in lines)


def test_one_that_fails_lets_the_others_finish_and_gives_its_exit_code(three):
    folder, said = three
    assert said.code == 4
    assert runs.read(folder / "runs/mine-7").done
    assert any(line.startswith("caution: ") and "mine-8" in line for line in said.err.splitlines())
    assert "error: The training state runs/mine-8/state.pt cannot be continued" in said.err


def test_one_that_is_killed_is_said_with_the_command_that_resumes_it(three):
    folder, said = three
    assert "The process that trained mine-9 ended by a signal (Killed)." in said.err
    assert said.err.splitlines()[-1] == "     ltkd distill --resume runs/mine-9"
    assert runs.read(folder / "runs/mine-9").status == "interrupted"


def test_ctrl_c_keeps_the_state_of_all_and_says_how_each_goes_on(ltkd, story, begun):
    stderr = Listener(press_ctrl_c, "seed 3, epoch 1: ", "seed 4, epoch 1: ")
    seeds = ("--seeds", "3,4,5", "--at-once", "2", "--name", "mine", "--log-every", "1")
    said = ltkd("distill", *LONG, *seeds, stderr=stderr)
    assert said.code == 130
    assert said.out == ""
    assert said.err.splitlines()[-3:] == [
        "try: ltkd distill --resume runs/mine-3",
        "     ltkd distill --resume runs/mine-4",
        "     ltkd distill --resume runs/mine-5",
    ]
    assert [process.returncode for process in begun] == [130, 130]
    assert [run_of(f"mine-{seed}").state.exists() for seed in (3, 4, 5)] == [True, True, False]
    assert {run_of(f"mine-{seed}").status for seed in (3, 4, 5)} == {"interrupted"}
    for seed, going_on in ((3, "mine-3: going on after epoch"), (5, "mine-5: resnet8 by bkd")):
        again = ltkd("distill", "--resume", f"mine-{seed}", stderr=Listener(press_ctrl_c, "mine-"))
        assert again.code == 130
        assert going_on in again.err


def test_a_second_ctrl_c_stops_all_at_once(ltkd, story, begun):
    def press_twice():
        press_ctrl_c()
        press_ctrl_c()

    stderr = Listener(press_twice, "mine-3: resnet8 by bkd")
    said = ltkd(
        "distill", *LONG, "--seeds", "3,4", "--at-once", "2", "--name", "mine", stderr=stderr
    )
    assert said.code == 130
    assert "mine-3 goes back to its last saved state, if it has one." in said.err
    assert said.err.splitlines()[-1] == "     ltkd distill --resume runs/mine-4"
    assert [process.returncode for process in begun] == [-signal.SIGKILL] * 2


def test_a_student_whose_parent_is_gone_keeps_its_state_and_ends(ltkd, story):
    run = run_of("2")
    recipe = {**run.settings["recipe"], "epochs": 999}
    run.update(status="interrupted", settings={**run.settings, "recipe": recipe})
    ours, theirs = Pipe()
    ours.send((run.path, Watch()))
    number = theirs.fileno()
    command = [sys.executable, "-m", "ltkd_cli.commands.student", str(number)]
    process = subprocess.Popen(command, pass_fds=[number], stderr=subprocess.PIPE, text=True)
    theirs.close()
    while not isinstance(ours.recv(), Step):
        pass
    ours.close()
    try:
        assert process.communicate(timeout=120) == (None, "")
    finally:
        process.kill()
    assert process.returncode == 130
    assert run_of("2").state.exists()


@pytest.mark.parametrize(
    ("options", "problem", "hint"),
    [
        (("--at-once", "2"), "--at-once is for", "ltkd distill --seeds 0,1,2 --at-once 2"),
        (("--seeds", "1,2", "--at-once", "0"), "takes 1 or more students, not 0", "--at-once 2"),
        (("--resume", "1", "--at-once", "2"), "--at-once cannot be given", "--resume 1"),
        (("--seeds", "1,2", "--model", "nonsense"), "no network 'nonsense'", "resnet8"),
    ],
    ids=["no seeds", "zero", "resume", "settings"],
)
def test_what_does_not_fit_is_refused_before_any_process_begins(
    ltkd, story, begun, options, problem, hint
):
    assert refused(ltkd("distill", *options), 2, problem, hint)
    assert not begun
    assert len(list((story / "runs").iterdir())) == 3


def test_images_are_decoded_before_the_first_process_begins(ltkd, empty, begun, monkeypatch):
    for path in (f"{split}/{name}/1.png" for split in ("train", "test") for name in "abc"):
        (empty / "images" / path).parent.mkdir(parents=True)
        Image.new("RGB", (8, 8), "red" if "train" in path else "blue").save(empty / "images" / path)
    decoded = []

    class Seen(Begun):
        def __init__(self, *arguments, **options):
            decoded.append(len(list(Path(os.environ["LTKD_CACHE_DIR"]).glob("*.npy"))))
            super().__init__(*arguments, **options)

    monkeypatch.setattr(several.subprocess, "Popen", Seen)
    monkeypatch.setattr(Begun, "doomed", (0, 1))
    images = ("--data", "images", "--image-size", "8", "--method", "ce")
    said = ltkd("distill", *TINY, *images, "--seeds", "1,2", "--at-once", "2")
    assert said.code == 1
    assert set(decoded) == {2}


@pytest.mark.parametrize("at_once", [1, 2])
def test_the_next_command_is_about_all_students(ltkd, story, at_once):
    seeds = ("--seeds", "3,4", "--at-once", at_once, "--name", "mine")
    said = ltkd("distill", *TINY, *seeds)
    assert [line for line in said.err.splitlines() if line.startswith("next: ")] == [
        "next: ltkd eval mine-3 mine-4"
    ]


def test_one_at_once_and_a_single_seed_need_no_other_process(ltkd, story, begun):
    said = ltkd("distill", *TINY, "--epochs", "1", "--seeds", "3,4", "--at-once", "1")
    assert said.code == ltkd("distill", *TINY, "--epochs", "1", "--seeds", "3").code == 0
    assert len(said.out.splitlines()) == 2
    assert not begun


def test_as_many_as_there_are_cores_on_a_cpu_and_seeds_at_most(monkeypatch):
    monkeypatch.setattr(several, "_cores", lambda: 4)
    assert several.how_many(None, 3, "cpu") == 3
    assert several.how_many(None, 9, "cpu") == 4
    assert several.how_many(6, 9, "cpu") == 6
    assert several.how_many(6, 2, "cpu") == 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_one_after_another_on_a_gpu_unless_asked_for():
    assert several.how_many(None, 3, "cuda") == 1
    assert several.how_many(2, 3, "cuda") == 2


def test_a_terminal_shows_a_moving_line_for_each_student(monkeypatch):
    shown = io.StringIO()
    terminal = Console(file=shown, force_terminal=True, width=80, color_system=None, _environ={})
    monkeypatch.setattr(console, "STDERR", terminal)

    def events():
        yield OfSeed(0, AtWork())
        yield OfSeed(11, AtWork())
        yield OfSeed(11, Step(1, 12, 3, 6, 300, 0.25, 0.0))
        yield OfSeed(0, Step(0, 12, 3, 6, 300, 0.5, 0.0))
        yield OfSeed(0, Note("mine-0: about itself"))
        yield OfSeed(0, EpochEnd(1, 12, {"label": 0.5}, 0.1, 600.0, 0.25))
        yield OfSeed(11, Checked(2, "test", {"all": 0.5}))

    console.follow(events(), 1)
    text = STEERING.sub("", shown.getvalue()).replace("\r", "\n")
    lines = [line.rstrip() for line in text.splitlines()]
    assert max(map(len, lines)) <= 80
    assert "mine-0: about itself" in lines
    assert any(line.startswith("  seed 0, epoch 1: label 0.500, learning rate") for line in lines)
    assert "  seed 11, epoch 2: test accuracy all 50.0" in lines
    first, second = [line for line in lines if re.match(r"seed \d+, epoch ", line)][-2:]
    assert first.startswith("seed 0, epoch 1/12 ")
    assert first.endswith("600 images/s")
    assert second.startswith("seed 11, epoch 2/12 ")
    assert second.endswith("1,200 images/s")


def test_two_commands_at_once_end_as_one_after_the_other(ltkd, story):
    together = [
        subprocess.Popen(
            [sys.executable, "-m", "ltkd_cli", "distill", *TINY, "--seed", seed],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for seed in ("7", "8")
    ]
    outputs = [process.communicate()[0] for process in together]
    assert [process.returncode for process in together] == [0, 0]
    folders = [story / output.split(":")[0] for output in outputs]
    assert {folder.name[:4] for folder in folders} == {"0004", "0005"}
    for seed, folder in zip((7, 8), folders, strict=True):
        assert json.loads((folder / "run.json").read_text())["settings"]["seed"] == seed
        assert ltkd("distill", *TINY, "--seed", seed, "--name", f"alone-{seed}").code == 0
        alone = story / f"runs/alone-{seed}"
        for name in ("model.safetensors", "per_class.csv"):
            assert (folder / name).read_bytes() == (alone / name).read_bytes()
