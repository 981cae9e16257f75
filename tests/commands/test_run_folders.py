"""Run folders: numbers, names and what is found by them."""

import errno
import fcntl
import json
import multiprocessing
import os
import shutil
import threading
from concurrent.futures import ProcessPoolExecutor

import pytest
from run_examples import DONE, create, rewrite

from ltkd_cli import runs
from ltkd_cli.errors import RunError


def test_processes_that_begin_at_once_take_different_numbers(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    labels = [f"label-{number}" for number in range(12)]
    with ProcessPoolExecutor(3, spawn) as pool:
        made = list(pool.map(create, [tmp_path] * len(labels), labels))
    assert sorted(run.name[:4] for run in made) == [f"{n:04d}" for n in range(1, 13)]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(run.name for run in made)


def test_numbers_go_on_from_the_highest_and_beyond_four_digits(tmp_path):
    (tmp_path / "9999-teach-ce-resnet8").mkdir()
    assert create(tmp_path).name == "10000-teach-ce-resnet8"
    assert create(tmp_path).name == "10001-teach-ce-resnet8"


def test_a_label_that_is_no_folder_name_becomes_one(tmp_path):
    assert create(tmp_path, "ce-timm/vit tiny").name == "0001-teach-ce-timm-vit-tiny"


def test_a_run_is_never_overwritten(tmp_path):
    create(tmp_path, name="mine").log({"epoch": 1})
    with pytest.raises(RunError, match="mine already"):
        create(tmp_path, name="mine")
    assert (tmp_path / "mine/metrics.jsonl").exists()


def test_the_newest_finished_run_of_a_kind_is_found(tmp_path):
    for kind in ("teach", "distill", "teach"):
        create(tmp_path, kind=kind, **DONE)
    create(tmp_path, kind="teach")
    assert runs.newest(tmp_path, "teach").name == "0003-teach-ce-resnet8"
    assert runs.newest(tmp_path, "distill").name == "0002-distill-ce-resnet8"
    assert runs.newest(tmp_path, "teach", done=False).name == "0004-teach-ce-resnet8"


def test_runs_of_version_0_1_are_in_the_order_of_their_dates_in_any_time_zone(tmp_path):
    times = ("2026-03-29T02:30:00+02:00", "2026-03-29T01:45:00+01:00", "2026-03-29T00:40:00+00:00")
    for created in times:
        rewrite(create(tmp_path), created=created, sequence=None)
    assert [run.name[:4] for run in runs.all_runs(tmp_path)] == ["0001", "0003", "0002"]


def test_a_line_cut_off_by_a_kill_is_no_metric(tmp_path):
    run = create(tmp_path)
    run.log({"epoch": 1})
    with run.metrics.open("a") as file:
        file.write('{"epoch": 2, "te')
    assert run.read_metrics() == [{"epoch": 1}]
    run.keep_metrics_to(1)
    (line,) = run.metrics.read_text().splitlines()
    assert json.loads(line)["epoch"] == 1


def test_two_cannot_hold_a_run(tmp_path):
    run = create(tmp_path)
    with run.held(), pytest.raises(RunError, match="another process"), run.held():
        pass
    with run.held():
        pass


def test_a_run_whose_folder_is_gone_cannot_be_held(tmp_path):
    run = create(tmp_path)
    shutil.rmtree(run.path)
    with pytest.raises(RunError, match=run.name), run.held():
        pass
    assert run.status == "interrupted"


def test_asking_for_its_status_keeps_nobody_from_a_run(tmp_path):
    run = create(tmp_path)
    with (tmp_path / run.name / "run.json").open() as file:
        asked = os.open(run.path, os.O_RDONLY)
        fcntl.flock(asked, fcntl.LOCK_SH)  # as `status` does, for an instant
        threading.Timer(0.1, os.close, (asked,)).start()
        with run.held():
            assert json.load(file)["status"] == "started"


@pytest.mark.parametrize("name", [None, "mine"])
def test_a_disk_that_is_full_leaves_no_folder_and_no_name_taken(tmp_path, monkeypatch, name):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="No space left on device"):
        create(tmp_path, name=name)
    assert list(tmp_path.iterdir()) == []
