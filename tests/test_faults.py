"""A short part of the campaign in benchmarks/faults, drawn by a seed; and that it can fail."""

import os
import signal
import time
from random import Random

import pytest

from benchmarks.faults import bits, children, crafted, crashes, images, options, pairs, story
from benchmarks.faults.children import Case, outcomes
from ltkd_cli import runs
from ltkd_cli.cache import Cache

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

PARTS = [
    (crashes.at_every_call, 0.008),
    (crashes.at_random, 0.04),
    (bits.of_caches, 0.05),
    (bits.of_old_caches, 0.02),
    (bits.of_unfinished_caches, 0.02),
    (bits.of_runs, 0.03),
    (bits.of_decoded_images, 0.05),
    (crafted.crafted_files, 0.01),
    (pairs.wrong_pairs, 0.1),
    (options.odd_options, 0.01),
    (images.odd_images, 0.05),
]
"""An area, and the share of it that is tried."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return story.tell(tmp_path_factory.mktemp("faults") / "story")


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    """Areas change folder, variables and how often a state is kept; all that is set back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(story.train, "SECONDS_BETWEEN_STATES", 60.0)
    monkeypatch.setattr(story.writer, "SYNC_SECONDS", 2.0)


@pytest.mark.parametrize(("area", "share"), PARTS, ids=lambda value: getattr(value, "__name__", ""))
def test_nothing_is_wrong(place, area, share):
    found = list(area(place, Random(1), share))
    assert found
    assert [(case, wrong) for case, wrong in found if wrong] == []


def die():
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

    assert children.calls_of(work) == ["open", "write", "rename"]
    (tmp_path / "other").unlink()
    lengths = []
    for moment, half in ((1, False), (1, True), (2, False)):
        assert children.killed_at(moment, work, half=half)
        lengths.append((tmp_path / "file").stat().st_size)
        (tmp_path / "file").unlink()
    assert lengths == [0, 4, 8]
    assert not children.killed_at(3, work)


def test_an_area_finds_what_is_not_checked(place, monkeypatch):
    monkeypatch.setattr(Cache, "open", lambda path: None)
    monkeypatch.setattr(runs.folder, "is_sealed", lambda values: True)
    for area in (bits.of_caches, bits.of_runs):
        assert any(wrong for _, wrong in area(place, Random(1), 0.02))
