"""A short part of the campaign in benchmarks/faults, drawn by a seed; and that it can fail."""

import faulthandler
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.faults import children, story
from benchmarks.faults.__main__ import SHORT, keep, version
from benchmarks.faults.children import Case, outcomes

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    """Areas change folder, variables and how often a state is kept; all that is set back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(story.train, "SECONDS_BETWEEN_STATES", 60.0)
    monkeypatch.setattr(story.writer, "SYNC_SECONDS", 2.0)


def test_nothing_is_wrong():
    """In a process of its own: cases are forks of it, which know nothing of its other threads."""
    command = [sys.executable, "-m", "benchmarks.faults", "--short", "--jobs", "1", "--seed", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    _, *rows = done.stdout.splitlines()
    assert len(rows) == len(SHORT)
    for row in rows:
        tried, survived, wrong, _ = row.split()
        assert (int(survived), int(wrong)) == (int(tried), 0)
        assert int(tried)


def die():
    faulthandler.disable()  # or it tells of it
    os.kill(os.getpid(), signal.SIGSEGV)


def test_a_case_that_fails_crashes_or_hangs_is_wrong_and_stops_no_other():
    def fail():
        raise KeyError("x")

    works = [lambda: "", die, lambda: "odd", lambda: time.sleep(60) or "", fail, lambda: ""]
    cases = [Case(str(number), work) for number, work in enumerate(works)]
    found = list(outcomes(cases, seconds=0.5))
    assert [bool(wrong) for wrong in found] == [False, True, True, True, True, False]
    assert "KeyError" in found[4]


def test_a_kill_is_before_a_call_or_within_a_write(tmp_path):
    def work():
        descriptor = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
        with os.fdopen(descriptor, "wb") as file:
            file.write(b"12345678")
        os.rename(tmp_path / "file", tmp_path / "other")  # noqa: PTH104
        os.link(tmp_path / "other", tmp_path / "third")
        os.write(os.pipe()[1], b"to nobody's disk")

    assert children.calls_of(work) == ["open", "write", "rename", "link"]
    for name in ("other", "third"):
        (tmp_path / name).unlink()
    lengths = []
    for moment, half in ((1, False), (1, True), (2, False)):
        assert children.killed_at(moment, work, half=half)
        lengths.append((tmp_path / "file").stat().st_size)
        (tmp_path / "file").unlink()
    assert lengths == [0, 4, 8]
    assert not children.killed_at(4, work)


UNCHECKED = """
import sys
from pathlib import Path
from random import Random

from benchmarks.faults import bits, story
from ltkd_cli import runs

runs.folder.is_sealed = lambda values: True
place = story.tell(Path(sys.argv[1]))
print(sum(bool(wrong) for _, wrong in bits.of_runs(place, Random(1), 0.02)))
"""


def test_an_area_finds_what_is_not_checked(tmp_path):
    """In a process of its own, too."""
    command = [sys.executable, "-c", UNCHECKED, tmp_path / "story"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout)


def git(folder, *arguments):
    own = ("-c", "user.name=nobody", "-c", "user.email=nobody@localhost")
    said = subprocess.run(["git", *own, *arguments], cwd=folder, check=True, capture_output=True)
    return said.stdout.decode().strip()


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")
def test_a_result_names_its_commit_and_changes_of_the_code(tmp_path):
    for name in ("ltkd_cli", "benchmarks/results", "docs"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").write_text("1")
    git(tmp_path, "init")
    assert version(tmp_path / "benchmarks")["commit"] is None
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "all")
    commit = git(tmp_path, "rev-parse", "HEAD")
    for changed, wanted in (("benchmarks/results", False), ("docs", False), ("ltkd_cli", True)):
        (tmp_path / changed / "file").write_text("2")
        found = version(tmp_path / "benchmarks")
        assert (found["commit"], found["changed"]) == (commit, wanted)


def test_results_of_other_areas_are_kept_and_the_table_says_of_which_commit_a_row_is(tmp_path):
    path, tried = tmp_path / "faults.json", {"tried": 2, "survived": 2, "wrong": []}
    table = runpy.run_path(str(ROOT / "docs" / "generate.py"))["faults_table"]
    path.write_text(json.dumps({"areas": {"crafted files": tried, "odd image files": tried}}))
    assert "commit" not in table(json.loads(path.read_text()))
    of = {"commit": 20 * "ab", "changed": True, "date": "2026-01-02"}
    keep(path, {"odd image files": tried}, of)
    found = json.loads(path.read_text())
    assert found == {"areas": {"crafted files": tried, "odd image files": {**tried, **of}}}
    crafted, images = table(found).splitlines()[2:]
    assert crafted.endswith("| - |")
    assert all(text in images for text in ("ababababab", "changes", "2026-01-02"))
