"""Files are whole or not there, one process writes at a time, and nobody else's file is touched."""

import errno
import itertools
import json
import os
import signal
import socket
import time

import pytest

from benchmarks.faults.children import in_child, start_child
from ltkd_cli import files
from ltkd_cli.files import Holder, Locked, folder_locked, locked, named_in, open_regular, replacing

forks = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file"


@pytest.fixture
def lock(tmp_path):
    return tmp_path / "lock"


def content(**changed):
    own = {"pid": os.getpid(), "host": socket.gethostname(), "start": "2026-01-01T00:00:00+00:00"}
    return json.dumps({**own, **changed})


@pytest.mark.parametrize("data", ["Häher", b"\x00\x01"])
def test_an_atomic_write_leaves_the_new_content_and_nothing_else(path, data):
    path.write_text("old")
    files.write_atomically(path, data)
    assert path.read_bytes() == (data.encode() if isinstance(data, str) else data)
    assert list(path.parent.iterdir()) == [path]


def test_an_error_while_writing_leaves_the_old_content_and_nothing_else(path):
    path.write_text("old")

    def interrupted():
        with replacing(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_replacing_a_link_does_not_write_to_its_target(path, tmp_path):
    (tmp_path / "target").write_text("precious")
    path.symlink_to(tmp_path / "target")
    files.write_atomically(path, "new")
    assert (tmp_path / "target").read_text() == "precious"
    assert not path.is_symlink()


def test_sha256_is_that_of_the_content(path):
    path.write_bytes(b"abc")
    assert files.sha256_of(path).startswith("ba7816bf8f01cfea")


def test_a_fifo_is_refused_and_not_waited_for(path):
    os.mkfifo(path)
    with pytest.raises(OSError, match="Not a regular file"):
        open_regular(path)
    with pytest.raises(OSError, match="Not a regular file"):
        files.sha256_of(path)


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_a_name_that_no_file_can_have_is_that_of_none(tmp_path, name):
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / name)


def test_a_folder_is_not_a_regular_file(tmp_path):
    with pytest.raises(OSError, match="Not a regular file"):
        open_regular(tmp_path)


def test_a_link_is_followed_only_where_asked_for(path, tmp_path):
    (tmp_path / "target").touch()
    path.symlink_to(tmp_path / "target")
    os.close(open_regular(path))
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        open_regular(path, follow=False)


def test_a_system_that_takes_three_bytes_at_a_time_gets_all_of_them(path, monkeypatch):
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, offset: pwrite(file, data[:3], offset))
    path.touch()
    descriptor = open_regular(path, os.O_RDWR)
    files.write_all(descriptor, b"0123456789", 2)
    os.close(descriptor)
    assert path.read_bytes() == b"\0\0" + b"0123456789"


def test_a_lock_names_its_holder_and_goes_away(lock):
    with locked(lock):
        assert named_in(lock).pid == os.getpid()
        assert named_in(lock).host == socket.gethostname()
        assert named_in(lock).start.endswith("+00:00")
    assert not lock.exists()


def test_a_second_holder_is_told_the_first_and_leaves_the_lock_alone(lock):
    with locked(lock):
        before = lock.read_bytes()
        with pytest.raises(Locked) as caught, locked(lock):
            pass
        assert lock.read_bytes() == before
    assert caught.value.holder.pid == os.getpid()
    assert caught.value.hint.endswith(f"kill {os.getpid()}")
    assert str(os.getpid()) in str(caught.value)
    assert socket.gethostname() in str(caught.value)


@forks
def test_another_process_is_refused(lock):
    def refused():
        with pytest.raises(Locked), locked(lock):
            pass

    with locked(lock):
        assert in_child(refused) == 0


@forks
def test_a_forked_child_does_not_give_back_its_parents_lock(lock):
    holding = locked(lock)
    holding.__enter__()
    assert in_child(lambda: holding.__exit__(None, None, None)) == 0
    with pytest.raises(Locked), locked(lock):
        pass
    holding.__exit__(None, None, None)
    assert not lock.exists()


@forks
def test_the_lock_of_a_killed_process_is_taken_over(lock):
    def hold():
        with locked(lock):
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(hold) == signal.SIGKILL
    assert lock.exists()
    with locked(lock):
        assert named_in(lock).pid == os.getpid()


def killed_with_a_worker(holding, seconds):
    """A killed process that held something, and a worker of it that lives on for some seconds."""

    def hold():
        with holding:
            start_child(lambda: time.sleep(seconds))
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(hold) == signal.SIGKILL


@forks
def test_workers_of_a_killed_process_hold_no_folder(tmp_path):
    killed_with_a_worker(folder_locked(tmp_path), seconds=5)
    with folder_locked(tmp_path) as held:
        assert held


@forks
def test_a_folder_stays_locked_while_workers_come_and_go(tmp_path):
    with folder_locked(tmp_path):
        assert in_child(lambda: None) == 0
        with pytest.raises(Locked), folder_locked(tmp_path):
            pass


@forks
def test_workers_of_a_killed_process_that_hold_its_lock_are_waited_for(lock):
    killed_with_a_worker(locked(lock), seconds=0.5)
    with locked(lock):
        assert named_in(lock).pid == os.getpid()


@pytest.mark.parametrize("text", ["", "{", '{"pid": 1}', content(pid=1)])
def test_a_lock_file_that_nobody_holds_is_taken_over_whatever_it_names(lock, text):
    lock.write_text(text)
    with locked(lock):
        assert named_in(lock).pid == os.getpid()


def test_a_file_that_is_no_lock_is_refused_and_kept(lock):
    lock.write_text("my notes")
    with pytest.raises(FileExistsError), locked(lock):
        pass
    assert lock.read_text() == "my notes"


def test_a_link_in_place_of_a_lock_is_refused_and_its_target_kept(lock, tmp_path):
    target = tmp_path / "target"
    target.write_text("{}")
    lock.symlink_to(target)
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)), locked(lock):
        pass
    assert target.read_text() == "{}"
    assert lock.is_symlink()


def test_a_fifo_in_place_of_a_lock_is_refused_and_not_waited_for(lock):
    os.mkfifo(lock)
    with pytest.raises(OSError, match="Not a regular file"), locked(lock):
        pass
    assert lock.exists()


def test_a_lock_that_somebody_removed_and_took_is_not_removed_again(lock):
    with locked(lock):
        lock.unlink()
        lock.write_text(content())
    assert lock.exists()


@pytest.mark.parametrize(
    "text",
    [
        *("", "null", "[]", '"pid"', '{"pid": 1}', "[" * 4000, '{"pid": ' + "9" * 4000 + "}"),
        *(content(pid=pid) for pid in (-1, 0, True, 2**31, 1.5, "7", None)),
        *(content(host=host) for host in (7, "\x1b[2J", "h" * 1000)),
        content(start=["2026"]),
    ],
    ids=itertools.count(),  # the texts name this process, which is another each time
)
def test_what_names_no_process_is_another_process(lock, text):
    lock.write_text(text)
    assert named_in(lock) is None
    assert str(Locked(named_in(lock))) == "another process"
    assert "kill" not in Locked(named_in(lock)).hint


@pytest.mark.parametrize(
    "holder",
    [
        Holder(1, socket.gethostname(), ""),
        Holder(os.getpid(), "elsewhere", ""),
        Holder(2**31 - 1, socket.gethostname(), ""),
    ],
)
def test_nobody_is_told_to_kill_init_or_a_process_that_does_not_run_here(holder):
    assert "kill" not in Locked(holder).hint


@forks
def test_of_many_processes_at_once_one_gets_the_lock(lock):
    lock.write_text(content(pid=1))
    gate, open_gate = os.pipe()
    results, tell = os.pipe()

    def contend():
        os.close(open_gate)
        try:
            with locked(lock):
                os.write(tell, b"+")
                os.read(gate, 1)
        except Locked:
            os.write(tell, b"-")

    children = [start_child(contend) for _ in range(8)]
    told = b"".join(os.read(results, 1) for _ in children)
    os.close(open_gate)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 8
    assert sorted(told) == sorted(b"+-------")
    for end in (gate, results, tell):
        os.close(end)
