"""Exports that are stopped or killed go on to the very bytes of an uninterrupted one."""

import shlex
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import h5py
import numpy as np
import pytest
from driving import datasets, refused

from ltkd_cli.cache import Cache, writer
from ltkd_cli.errors import CacheError

VIEWS = 32
COMMAND = ("export-logits", "--views", str(VIEWS), "--output", "mine.h5")

FLUSHED_AT_ONCE = """
import sys
from ltkd_cli.cache import writer
from ltkd_cli.cli.app import run
writer.SYNC_SECONDS = 0.0
sys.exit(run(sys.argv[1:]))
"""


@contextmanager
def ctrl_c_once(is_time):
    """Sends this process one SIGINT, like Ctrl-C, as soon as `is_time()`."""
    over = threading.Event()

    def wait():
        while not over.is_set() and not is_time():
            time.sleep(0.002)
        if not over.is_set():
            signal.raise_signal(signal.SIGINT)

    watcher = threading.Thread(target=wait)
    before = signal.signal(signal.SIGINT, lambda *_: None)  # one that comes late does no harm
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        signal.signal(signal.SIGINT, before)


def done(partial):
    """Entries that a partial file holds for good, read while another process writes it."""
    try:
        with h5py.File(partial, locking=False) as file:
            offset, entries = file["done"].id.get_offset(), file["done"].size
    except OSError:
        return 0
    with partial.open("rb") as file:
        file.seek(offset)
        return int(np.frombuffer(file.read(entries), np.uint8).sum())


def start():
    command = [sys.executable, "-c", FLUSHED_AT_ONCE, *COMMAND]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def whole(ltkd, told, tmp_path_factory):
    """The datasets of an uninterrupted export."""
    path = tmp_path_factory.mktemp("whole") / "whole.h5"
    runs = told / "runs"
    assert ltkd("export-logits", "--runs", runs, "--views", VIEWS, "--output", path).code == 0
    return datasets(path)


def test_killed_at_several_moments_an_export_ends_in_the_same_bytes(ltkd, story, whole):
    path, partial = story / "mine.h5", story / "mine.h5.partial"
    entries = 453 * VIEWS
    for least in (1, entries // 3):
        process = start()
        while done(partial) < least and process.poll() is None:
            time.sleep(0.002)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        assert least <= done(partial) < entries
        assert not path.exists()
        for name in (path, partial):
            with pytest.raises(CacheError, match="unfinished"):
                Cache.open(name)
    said = ltkd(*COMMAND)
    assert said.code == 0
    assert datasets(path) == whole
    assert not partial.exists()
    assert not (story / "mine.h5.partial.lock").exists()


def test_killed_at_its_very_beginning_an_export_can_be_made_again(ltkd, story, whole):
    process = start()
    while not list(story.glob("mine.h5*")) and process.poll() is None:
        time.sleep(0.0005)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert ltkd(*COMMAND).code == 0
    assert datasets("mine.h5") == whole


def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(ltkd, story, whole, monkeypatch):
    partial = story / "mine.h5.partial"
    with monkeypatch.context() as patch, ctrl_c_once(lambda: done(partial) > 0):
        patch.setattr(writer, "SYNC_SECONDS", 0.0)
        said = ltkd(*COMMAND)
    assert said.code == 130
    assert said.err.splitlines()[-1] == f"try: {shlex.join(['ltkd', *COMMAND])}"
    assert 0 < done(partial) < 453 * VIEWS
    assert ltkd(*shlex.split(said.err.splitlines()[-1])[2:]).code == 0
    assert datasets("mine.h5") == whole


def test_a_partial_export_is_not_gone_on_with_under_other_settings(ltkd, story, monkeypatch):
    partial = story / "mine.h5.partial"
    with monkeypatch.context() as patch, ctrl_c_once(lambda: done(partial) > 0):
        patch.setattr(writer, "SYNC_SECONDS", 0.0)
        assert ltkd(*COMMAND).code == 130
    said = ltkd(*COMMAND, "--view-seed", 5)
    assert refused(said, 3, "view_seed", "rm mine.h5.partial")
