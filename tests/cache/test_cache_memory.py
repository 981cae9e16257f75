import io
import os

import numpy as np
import pytest

from ltkd_cli.cache.memory import Memory


@pytest.fixture
def file(tmp_path):
    number = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield number
    os.close(number)


def scribble(memory, size):
    """Writes at random places; what the bytes should be then, as an array."""
    generator = np.random.default_rng(3)
    truth = bytearray(size)
    memory.seek(0)
    truth[:] = memory.read(size).ljust(size, b"\0")
    for _ in range(30):
        start = int(generator.integers(0, size - 20))
        piece = generator.bytes(int(generator.integers(1, 20)))
        memory.seek(start)
        memory.write(piece)
        truth[start : start + len(piece)] = piece
    memory.truncate(size)
    return bytes(truth)


@pytest.mark.parametrize("below", [b"", bytes(range(200))])
def test_what_was_written_is_read_back_over_what_lies_below(file, below):
    os.pwrite(file, below, 0)
    memory = Memory(file)
    truth = scribble(memory, 300)
    for start in range(0, 300, 7):
        memory.seek(start)
        assert memory.read(11)[: 300 - start] == truth[start : start + 11]


def test_saving_puts_every_piece_in_place(file):
    os.pwrite(file, bytes(range(200)), 0)
    memory = Memory(file)
    truth = scribble(memory, 300)
    assert os.pread(file, 400, 0) == bytes(range(200))
    memory.save(file)
    assert os.pread(file, 400, 0) == truth


def test_the_end_is_the_length(file):
    os.pwrite(file, b"12345", 0)
    assert Memory(file).seek(0, io.SEEK_END) == 5
