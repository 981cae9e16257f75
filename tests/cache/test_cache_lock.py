import errno
import fcntl
import json
import os
import resource
import signal
import socket

import pytest
from example_cache import export, in_child, lock_of, start_child

from ltkd_cli.cache.lock import birth_of, held, holder_of
from ltkd_cli.errors import CacheError

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@pytest.fixture
def lock(path):
    return lock_of(path)


def content(**changed):
    own = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "start": "2026-01-01T00:00:00+00:00",
        "birth": birth_of(os.getpid()),
    }
    return json.dumps({**own, **changed})


def dead_pid():
    pid = start_child(lambda: None)
    os.waitpid(pid, 0)
    return pid


def test_the_lock_names_its_holder_and_goes_away(lock):
    with held(lock):
        named = json.loads(lock.read_text())
        assert named["pid"] == os.getpid()
        assert named["host"] == socket.gethostname()
        assert named["start"].endswith("+00:00")
    assert not lock.exists()


def test_a_second_holder_is_refused_and_told_the_first(lock):
    with held(lock), pytest.raises(CacheError) as caught, held(lock):
        pass
    assert f"cache.h5.partial is being written by process {os.getpid()} on" in caught.value.problem
    assert caught.value.hint.endswith(f"kill {os.getpid()}")


def test_a_refused_process_leaves_the_lock_alone(lock):
    with held(lock):
        before = lock.read_bytes()
        with pytest.raises(CacheError), held(lock):
            pass
        assert lock.read_bytes() == before


def test_another_process_is_refused(lock):
    def refused():
        with pytest.raises(CacheError), held(lock):
            pass

    with held(lock):
        assert in_child(refused) == 0


def test_a_forked_child_does_not_give_back_its_parents_lock(lock):
    holding = held(lock)
    holding.__enter__()
    assert in_child(lambda: holding.__exit__(None, None, None)) == 0
    assert lock.exists()
    holding.__exit__(None, None, None)
    assert not lock.exists()


def test_the_lock_of_a_dead_process_is_taken_over(path, lock):
    lock.write_text(content(pid=dead_pid()))
    assert export(path).exists()
    assert not lock.exists()


def test_a_process_killed_but_not_yet_waited_for_is_dead(lock):
    pid = start_child(lambda: signal.pause())
    lock.write_text(content(pid=pid, birth=birth_of(pid)))
    assert holder_of(lock).pid == pid
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    with held(lock):
        pass
    os.waitpid(pid, 0)


@pytest.mark.skipif(not birth_of(os.getpid()), reason="the system does not tell births")
def test_a_later_process_with_the_same_number_is_not_the_holder(lock):
    lock.write_text(content(birth="another boot 1"))
    with held(lock):
        pass


def test_a_process_of_unknown_birth_is_taken_to_live(lock):
    lock.write_text(content(birth=""))
    with pytest.raises(CacheError), held(lock):
        pass


def test_a_process_on_another_host_is_taken_to_live(lock):
    lock.write_text(content(host="elsewhere", pid=1))
    with pytest.raises(CacheError, match="process 1 on elsewhere since 2026") as caught, held(lock):
        pass
    assert caught.value.hint == f"wait for it, or, if it runs no more: rm {lock}"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', "null"])
def test_a_lock_whose_writer_was_killed_while_writing_is_taken_over(lock, text):
    lock.write_text(text)
    with held(lock):
        assert json.loads(lock.read_text())["pid"] == os.getpid()


def test_what_another_process_writes_while_one_waits_for_the_kernel_counts(lock, monkeypatch):
    def flock(file, operation):
        lock.write_text(content())

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(CacheError), held(lock):
        pass


def test_a_lock_file_removed_while_one_waits_for_the_kernel_is_made_anew(lock, monkeypatch):
    removed = []

    def flock(file, operation):
        if not removed:
            removed.append(lock.unlink())

    monkeypatch.setattr(fcntl, "flock", flock)
    with held(lock):
        assert json.loads(lock.read_text())["pid"] == os.getpid()
    assert removed


def test_a_file_system_without_kernel_locks_will_do(lock, monkeypatch):
    def flock(file, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with held(lock), pytest.raises(CacheError), held(lock):
        pass
    assert not lock.exists()


def test_a_disk_without_room_for_the_lock_is_left_as_it_was(path):
    def export_without_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        with pytest.raises(CacheError, match="cannot be written: File too large"):
            export(path)

    assert in_child(export_without_room) == 0
    assert list(path.parent.iterdir()) == []


def test_of_many_processes_at_once_one_gets_a_stale_lock(lock):
    lock.write_text(content(pid=dead_pid()))
    gate, open_gate = os.pipe()
    results, tell = os.pipe()

    def contend():
        os.close(open_gate)
        try:
            with held(lock):
                os.write(tell, b"+")
                os.read(gate, 1)
        except CacheError:
            os.write(tell, b"-")

    children = [start_child(contend) for _ in range(8)]
    told = b"".join(os.read(results, 1) for _ in children)
    os.close(open_gate)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 8
    assert sorted(told) == sorted(b"+-------")
    for end in (gate, results, tell):
        os.close(end)
