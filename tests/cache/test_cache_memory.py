"""HDF5 writes to memory, because on a disk that fills up it takes the process with it."""

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ltkd_cli.cache.memory import Memory

WITH_LITTLE_ROOM = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
path = Path(sys.argv[1])
"""

BY_H5PY = """
import h5py
try:
    with h5py.File(path, "w") as file:
        file["numbers"] = list(range(5000))
        file.attrs["text"] = "x" * 4000
except (OSError, RuntimeError):
    pass
"""

BY_LTKD = """
from example_cache import export
from ltkd_cli.errors import CacheError
try:
    export(path)
except CacheError:
    sys.exit(7)
"""


def exit_code(program, path):
    """How a process of its own ends, which shuts its libraries down, with little room on disk."""
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here.parents[1])])}
    command = [sys.executable, "-c", WITH_LITTLE_ROOM + program, str(path)]
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode


def test_an_export_outlives_a_full_disk_that_h5py_alone_does_not(path):
    code = exit_code(BY_H5PY, path.with_name("h5py.h5"))
    if code == 0:
        pytest.skip("this HDF5 outlives a full disk, so that Memory is no longer needed")
    assert code in (-signal.SIGSEGV, -signal.SIGABRT)
    assert exit_code(BY_LTKD, path) == 7


@pytest.fixture
def file(tmp_path):
    number = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield number
    os.close(number)


def scribble(memory, size):
    """Writes at random places; what the bytes should be then."""
    generator = np.random.default_rng(3)
    truth = bytearray(size)
    for _ in range(30):
        start = int(generator.integers(0, size - 20))
        piece = generator.bytes(int(generator.integers(1, 20)))
        memory.seek(start)
        memory.write(piece)
        truth[start : start + len(piece)] = piece
    memory.truncate(size)
    return bytes(truth)


def test_what_was_written_is_read_back_with_zeros_in_between():
    memory = Memory()
    truth = scribble(memory, 300)
    for start in range(0, 300, 7):
        memory.seek(start)
        assert memory.read(11)[: 300 - start] == truth[start : start + 11]


def test_saving_puts_every_piece_in_place(file):
    memory = Memory()
    truth = scribble(memory, 300)
    memory.save(file)
    assert os.pread(file, 400, 0) == truth


def test_the_end_is_the_length():
    memory = Memory()
    memory.write(b"12345")
    assert memory.seek(0, io.SEEK_END) == 5
