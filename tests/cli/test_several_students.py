"""Several students learn from one cache at the same time, in one command or in several."""

import io
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import chdir
from pathlib import Path

import pytest
import torch
from driving import STEERING, Listener, refused, result_of
from PIL import Image
from rich.console import Console

from ltkd_cli import console, runs
from ltkd_cli.commands import several
from ltkd_cli.commands.prepare import prepare
from ltkd_cli.console import terminal
from ltkd_cli.events import EpochEnd, Evaluated, Note, Step

TINY = ("--model", "resnet8", "--epochs", "2", "--evaluate-every", "0", "--precision", "float32")
LONG = ("--model", "resnet8", "--epochs", "999", "--evaluate-every", "0", "--precision", "float32")


def processes():
    """Those that train a student, by the name of its run."""
    return {process.name: process for process in multiprocessing.active_children()}


def press_ctrl_c():
    """As on a terminal, where all processes get the signal; students alone would stop for it."""
    for _ in range(10):
        for process in processes().values():
            os.kill(process.pid, signal.SIGINT)
        time.sleep(0.01)
    signal.raise_signal(signal.SIGINT)


def run_of(name):
    return runs.find(Path("runs"), name)


@pytest.fixture(scope="module")
def three(ltkd, told, tmp_path_factory):
    """Where three students were trained at once: one ends well, one fails and one is killed."""
    folder = tmp_path_factory.mktemp("three")
    shutil.copytree(told / "runs", folder / "runs")

    def spoil():
        (folder / "runs/mine-8/state.pt").write_bytes(b"not a state")
        doomed = run_of("mine-9")  # which must not end before it is killed
        recipe = {**doomed.settings["recipe"], "epochs": 999}
        doomed.update(settings={**doomed.settings, "recipe": recipe})

    class User(Listener):
        def write(self, written):
            if "mine-9: resnet8 by bkd" in written:
                processes()["mine-9"].kill()
            return super().write(written)

    stderr = User(spoil, "3 students")
    seeds = ("--seeds", "7,8,9", "--jobs", "3", "--name", "mine")
    with chdir(folder):
        said = ltkd("distill", *TINY, *seeds, "--log-every", "1", stderr=stderr)
    return folder, said


def test_one_that_ends_well_is_what_it_is_alone(ltkd, three):
    folder, said = three
    together = folder / "runs/mine-7"
    with chdir(folder):
        assert ltkd("distill", *TINY, "--seed", "7", "--name", "alone-7").code == 0
    for name in ("model.safetensors", "per_class.csv"):
        assert (together / name).read_bytes() == (folder / "runs/alone-7" / name).read_bytes()
    assert [line.split(":")[0] for line in said.out.splitlines()] == ["runs/mine-7"]
    assert json.loads((together / "run.json").read_text())["threads"] == 1
    assert "threads of each: 1" in said.err


def test_the_cache_is_introduced_once_and_every_line_names_its_seed(three):
    _, said = three
    lines = said.err.splitlines()
    assert sum("resnet8 trained by ce" in line for line in lines) == 1
    assert sum(line.startswith("  seed 7, epoch ") for line in lines) == 2
    assert not any(line.startswith("  epoch ") for line in lines)


def test_one_that_fails_lets_the_others_finish_and_gives_its_exit_code(three):
    folder, said = three
    assert said.code == 4
    assert runs.read(folder / "runs/mine-7").done
    assert "error: The training state runs/mine-8/state.pt" in said.err


def test_one_that_is_killed_is_named_with_the_command_that_resumes_it(three):
    folder, said = three
    assert "mine-9" in said.err.partition("error: ")[2]
    assert said.err.splitlines()[-1].endswith("ltkd distill --resume runs/mine-9")
    assert runs.read(folder / "runs/mine-9").status == "interrupted"


def test_ctrl_c_keeps_the_state_of_all_and_names_the_commands_that_resume_them(ltkd, story):
    stderr = Listener(press_ctrl_c, "seed 3, epoch 1: ", "seed 4, epoch 1: ")
    seeds = ("--seeds", "3,4,5", "--jobs", "2", "--name", "mine", "--log-every", "1")
    said = ltkd("distill", *LONG, *seeds, stderr=stderr)
    assert (said.code, said.out, processes()) == (130, "", {})
    commands = [line.removeprefix("try:").strip() for line in said.err.splitlines()[-3:]]
    assert commands == [f"ltkd distill --resume runs/mine-{seed}" for seed in (3, 4, 5)]
    assert [run_of(f"mine-{seed}").state.exists() for seed in (3, 4, 5)] == [True, True, False]
    assert {run_of(f"mine-{seed}").status for seed in (3, 4, 5)} == {"interrupted"}
    for seed in (3, 5):
        again = ltkd("distill", "--resume", f"mine-{seed}", stderr=Listener(press_ctrl_c, "mine-"))
        assert again.code == 130
        assert ("resuming after epoch" in again.err) == (seed == 3)


def test_students_whose_parent_is_killed_keep_their_state_and_end(story):
    seeds = ("--seeds", "3,4", "--jobs", "2", "--name", "mine", "--log-every", "1")
    command = [sys.executable, "-m", "ltkd_cli", "distill", *LONG, *seeds]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        awaited = {"seed 3", "seed 4"}
        while awaited:
            awaited -= {process.stderr.readline().split(",")[0].strip()}
        process.kill()
        process.communicate()  # to the end of stderr, which the students have open as well
    for name in ("mine-3", "mine-4"):
        assert run_of(name).status == "interrupted"
        assert run_of(name).state.exists()


@pytest.mark.parametrize(
    ("options", "name", "hint"),
    [
        (("--jobs", "2"), "--jobs", "ltkd distill --seeds 0,1,2 --jobs 2"),
        (("--seeds", "1,2", "--jobs", "0"), "--jobs", "--jobs 2"),
        (("--resume", "1", "--jobs", "2"), "--jobs", "--resume 1"),
        (("--seeds", "1,2", "--model", "nonsense"), "'nonsense'", "resnet8"),
    ],
    ids=["no seeds", "zero", "resume", "settings"],
)
def test_what_does_not_fit_is_refused_before_a_run_is_made(ltkd, story, options, name, hint):
    assert refused(ltkd("distill", *options), 2, name, hint)
    assert len(list((story / "runs").iterdir())) == 3


def assert_about_both(said):
    assert said.err.splitlines()[-1] == "next: ltkd eval mine-3 mine-4"
    assert len(said.out.splitlines()) == 2


def test_by_default_there_are_as_many_processes_as_threads_of_the_cpu(ltkd, story):
    begun = []
    stderr = Listener(lambda: begun.extend(processes()), "mine-3: resnet8 by bkd")
    assert_about_both(ltkd("distill", *TINY, "--seeds", "3,4", "--name", "mine", stderr=stderr))
    assert not begun  # with one thread, this process trains one after the other


@pytest.fixture
def four_threads():
    """Four CPU threads, as on a machine with so many cores."""
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(1)


def test_by_default_there_is_a_student_for_each_thread_of_the_cpu_and_one_on_a_gpu(four_threads):
    jobs = [several.default_jobs(torch.device(name)) for name in ("cpu", "cuda")]
    assert jobs == [4, 1]


def test_the_threads_are_shared_among_the_students_that_train_at_once(empty, four_threads):
    asked = {"model": "resnet8", "method": "ce", "recipe": {"epochs": 1}}
    prepared = result_of(prepare(Path("runs"), "distill", asked))
    names = dict.fromkeys((3, 4, 5))
    created = result_of(several.create(Path("runs"), "distill", prepared, names, jobs=2))
    assert [run.record["threads"] for run in created.values()] == [2, 2, 2]
    assert torch.get_num_threads() == 4


def test_images_are_decoded_before_the_first_process_begins(ltkd, empty):
    for path in (f"{split}/{name}/1.png" for split in ("train", "test") for name in "abc"):
        (empty / "images" / path).parent.mkdir(parents=True)
        Image.new("RGB", (8, 8), "red" if "train" in path else "blue").save(empty / "images" / path)
    store, decoded, begun = Path(os.environ["LTKD_CACHE_DIR"]), [], []

    class User(Listener):
        def write(self, written):
            if "mine-3: resnet8 by ce" in written:
                begun.extend(processes())
            return super().write(written)

    stderr = User(lambda: decoded.extend(store.glob("*.images")), "2 students")
    images = ("--data", "images", "--image-size", "8", "--method", "ce")
    seeds = ("--seeds", "3,4", "--jobs", "2", "--name", "mine")
    assert_about_both(ltkd("distill", *TINY, *images, *seeds, stderr=stderr))
    assert len(decoded) == 2
    assert begun  # both, but for one that has ended by then


def test_a_terminal_shows_a_moving_line_for_each_student(monkeypatch):
    shown = io.StringIO()
    screen = Console(file=shown, force_terminal=True, width=80, color_system=None, _environ={})
    monkeypatch.setattr(terminal, "STDERR", screen)

    def events():
        yield 11, Step(1, 12, 3, 6, 300, 0.25, 0.0)
        yield 0, Step(0, 12, 3, 6, 300, 0.5, 0.0)
        yield 0, Note("mine-0: about itself")
        yield 0, EpochEnd(1, 12, {"label": 0.5}, 0.1, 600.0, 0.25)
        yield 11, Evaluated(2, "test", {"all": 0.5})

    console.follow_students(events(), 1)
    text = STEERING.sub("", shown.getvalue()).replace("\r", "\n")
    lines = [line.rstrip() for line in text.splitlines()]
    assert max(map(len, lines)) <= 80
    assert "mine-0: about itself" in lines
    assert any(line.startswith("  seed 0, epoch 1: label 0.500, learning rate") for line in lines)
    assert "  seed 11, epoch 2: test accuracy 50.0 %" in lines
    moving = [line for line in lines if re.match(r"seed \d+, epoch ", line)][-2:]
    assert moving[0].startswith("seed 11, epoch 2/12 ")
    assert moving[1].startswith("seed 0, epoch 1/12 ")
    assert [line.split()[-2] for line in moving] == ["1,200", "600"]


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
