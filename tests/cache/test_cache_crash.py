"""An export is killed before every single system call that changes the disk."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from example_cache import (
    datasets,
    example_attributes,
    example_layout,
    export,
    fill,
    lock_of,
    partial_of,
)

from benchmarks.faults.children import killed_at
from ltkd_cli.cache import Cache, CacheWriter, container
from ltkd_cli.cache.pack import damaged
from ltkd_cli.errors import CacheError

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

MOMENTS = [*range(0, 24, 5), *range(24, 1000)]
"""Calls to be killed at; the first two dozen mostly write a draft that nobody reads."""


@pytest.fixture
def folder():
    """A folder in memory where there is one: there, fsync takes no time."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as name:
        yield Path(name)


def slow_export(path, **options):
    with CacheWriter(path, example_layout(), example_attributes(), **options) as writer:
        fill(writer, flush=True)
        writer.finish()


def assert_nothing_wrong_is_readable(path):
    if path.exists():
        Cache.open(path).verify()
    with pytest.raises(CacheError):
        Cache.open(partial_of(path))


def assert_flags_tell_the_truth(path):
    found = container.read(path, unfinished=True)
    done = np.flatnonzero(found.arrays["done"])
    assert not len(damaged(found.layout, found.arrays, done))


def test_killed_at_any_moment_it_is_unfinished_or_whole_and_resumes_to_the_same_bytes(folder):
    reference = datasets(export(folder / "reference.h5"))
    for moment in MOMENTS:
        path = folder / str(moment) / "cache.h5"
        if not killed_at(moment, lambda path=path: slow_export(path)):
            break
        assert_nothing_wrong_is_readable(path)
        if partial_of(path).exists():
            assert_flags_tell_the_truth(partial_of(path))
        if not path.exists():
            export(path)
        assert datasets(path) == reference, moment
        assert {p.name for p in path.parent.iterdir()} <= {path.name, lock_of(path).name}
    assert moment > 50


def test_a_replaced_cache_is_the_old_or_the_new_one_at_any_moment(folder):
    def seed_left_behind(moment):
        """Seed of the cache after a replacement was killed at that moment; None if it ended."""
        path = folder / str(moment) / "cache.h5"
        export(path, attributes=example_attributes(view_seed=1))
        if not killed_at(moment, lambda: slow_export(path, replace=True)):
            return None
        cache = Cache.open(path)
        cache.verify()
        return cache.attributes["view_seed"]

    step = 4
    seeds = {}
    for moment in range(0, 1000, step):
        seeds[moment] = seed_left_behind(moment)
        if seeds[moment] is None:
            break
    for moment in range(max(seeds) - step + 1, max(seeds)):  # few calls follow the rename
        seeds[moment] = seed_left_behind(moment)
    left = [seeds[moment] for moment in sorted(seeds) if seeds[moment] is not None]
    assert set(left) == {1, 0}
    assert left == sorted(left, reverse=True)


SCRIPT = """
import sys, time
from pathlib import Path
from example_cache import *
with CacheWriter(Path(sys.argv[1]), example_layout(), example_attributes()) as writer:
    fill(writer, range(8), flush=True)
    print("written", flush=True)
    time.sleep(60)
"""


def test_a_killed_program_leaves_a_lock_and_a_file_that_the_next_one_takes_over(path):
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here.parents[1])])}
    program = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(path)], stdout=subprocess.PIPE, env=environment
    )
    with program:
        assert program.stdout.readline() == b"written\n"
        with pytest.raises(CacheError, match=rf"being written by process {program.pid} on"):
            export(path)
        with pytest.raises(CacheError, match=rf"unfinished; process {program.pid} on .* writing"):
            Cache.open(path)
        program.kill()
    with CacheWriter(path, example_layout(), example_attributes()) as writer:
        assert writer.missing().tolist() == [8, 9, 10, 11]
    assert not lock_of(path).exists()


def test_the_disk_has_an_entry_before_its_flag_and_everything_before_the_name(path, monkeypatch):
    calls = []

    def recorded(name, real):
        def call(*arguments):
            calls.append((name, arguments[-1] if name == "pwrite" else None))
            return real(*arguments)

        return call

    for name in ("pwrite", "fsync", "replace"):
        monkeypatch.setattr(os, name, recorded(name, getattr(os, name)))
    with CacheWriter(path, example_layout(), example_attributes()) as writer:
        done = container.read(partial_of(path)).ranges["done"]
        calls.clear()
        fill(writer, flush=True)
        writer.finish()
    flags = [
        i
        for i, (name, offset) in enumerate(calls)
        if name == "pwrite" and done.offset <= offset < done.offset + done.size
    ]
    assert len(flags) == 3
    assert all(calls[flag - 1][0] == "fsync" for flag in flags)
    last = [name for name, _ in calls[flags[-1] : calls.index(("replace", None))]]
    completed = last.count("pwrite") - 1
    assert completed > 0  # and all that is complete is on the disk before the file says so:
    assert last == ["pwrite", "fsync", *["pwrite"] * completed, "fsync"]
    assert calls[-1] == ("fsync", None)
