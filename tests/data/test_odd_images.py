"""Images of unusual depth, files that are no files, and a machine that runs out of something."""

import errno
import io
import os
import resource
import socket
from contextlib import suppress

import numpy as np
import pytest
import torch
from PIL import Image

from ltkd_cli.data import DataSpec, load
from ltkd_cli.data.decode import attempt, decode
from ltkd_cli.data.failures import Failure, unreadable
from ltkd_cli.errors import DataError


def grey(path):
    """The values of an image of 8 x 8 that is decoded as it is."""
    pixels = decode(str(path), 8)
    assert (pixels == pixels[0]).all()
    return pixels[0]


def test_floating_point_values_from_0_to_1_become_0_to_255(tmp_path):
    values = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    Image.fromarray(values).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(grey(tmp_path / "a.tif"), np.rint(values * 255))


@pytest.mark.parametrize("values", [(0, 255), (-0.5, 0.5), (0, np.nan), (0, np.inf)], ids=str)
def test_other_floating_point_values_are_refused(tmp_path, values):
    Image.fromarray(np.resize(np.float32(values), (8, 8))).save(tmp_path / "a.tif")
    failure = attempt(str(tmp_path / "a.tif"), 8)
    assert failure == Failure(str(tmp_path / "a.tif"), failure.reason, "unscaled")
    assert "between 0 and 1" in failure.reason


@pytest.mark.parametrize("largest", [1, 255, 65_535, 2**31 - 1])
def test_32_bit_whole_numbers_are_refused(tmp_path, largest):
    Image.fromarray(np.full((8, 8), largest, np.int32)).save(tmp_path / "a.tif")
    assert "32-bit" in attempt(str(tmp_path / "a.tif"), 8).reason


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_16_bit_whole_numbers_give_their_upper_half(tmp_path, name):
    values = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1024
    Image.fromarray(values).save(tmp_path / name)
    np.testing.assert_array_equal(grey(tmp_path / name), values >> 8)


def test_a_set_with_an_image_of_unknown_range_is_refused_with_its_name(make_folder):
    folder = make_folder([3, 3])
    path = folder / "train" / "class1" / "deep.tif"
    Image.fromarray(np.full((8, 8), 7, np.int32)).save(path)
    with pytest.raises(DataError, match=r"1 of 11 images .*class1/deep\.tif .*8 or 16 bits"):
        load(DataSpec(str(folder)))


@pytest.mark.parametrize("store", ["always", "never"])
def test_sound_images_that_are_refused_are_not_to_be_replaced(make_folder, monkeypatch, store):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    folder = make_folder([3, 3], size=(8, 8))
    path = folder / "train" / "class1" / "large.png"
    Image.new("RGB", (11, 10)).save(path)
    with pytest.raises(DataError, match=r"110 pixels") as caught:
        load(DataSpec(str(folder), store=store)).train.images.gather(torch.tensor([6]))
    assert "sound" in caught.value.problem
    assert "class1/large.png" in caught.value.problem
    assert "smaller" in caught.value.hint
    assert not {"replace", "remove"} & {*caught.value.hint.split()}


def test_damaged_and_refused_images_have_an_advice_each():
    hint = unreadable([Failure("a", "cut off"), Failure("b", "32 bits", "unscaled")], 9).hint
    assert "replace" in hint
    assert "8 or 16 bits" in hint


def fifo(path):
    os.mkfifo(path)


def unix_socket(path):
    # the path of a socket is short, so it is made by a name in the current folder
    before = os.open(".", os.O_RDONLY)
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.fchdir(before)
        os.close(before)


def link_to_a_device(path):
    path.symlink_to("/dev/zero")


def folder_like_an_image(path):
    path.mkdir()
    (path / "inner.png").mkdir()


@pytest.mark.parametrize("make", [fifo, unix_socket, link_to_a_device])
def test_what_is_no_regular_file_is_refused_at_once(make_folder, make):
    folder = make_folder([2, 2])
    make(folder / "train" / "class1" / "odd.png")
    with pytest.raises(DataError, match=r"1 of 5 images are no regular files .*class1/odd\.png"):
        load(DataSpec(str(folder)))


def test_a_folder_that_is_named_like_an_image_is_a_folder(make_folder):
    folder = make_folder([2, 2])
    folder_like_an_image(folder / "train" / "class1" / "odd.png")
    assert load(DataSpec(str(folder))).train.class_counts() == [2, 2]


class NoMemory(io.BytesIO):
    """A file whose reading takes more memory than there is."""

    def read(self, *sizes):
        raise MemoryError


class TooManyFiles(io.BytesIO):
    """A file that cannot be opened, because too many are."""

    def read(self, *sizes):
        raise OSError(24, "Too many open files")


def test_running_out_of_memory_is_no_corrupt_file():
    with pytest.raises(DataError, match=r"not enough memory to read cat/1\.png"):
        attempt(NoMemory(), 8, "cat/1.png")


def test_running_out_of_file_handles_is_no_corrupt_file():
    with pytest.raises(
        DataError, match=r"cat/1\.png cannot be opened.*too many open files"
    ) as caught:
        attempt(TooManyFiles(), 8, "cat/1.png")
    assert "ulimit" in caught.value.hint


@pytest.fixture
def no_file_handle_left():
    """Takes all file handles of this process when it is called."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = []

    def take():
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        with suppress(OSError):
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))

    yield take
    for descriptor in held:
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_an_image_that_no_file_handle_is_left_for_is_not_called_corrupt(
    tmp_path, no_file_handle_left
):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    no_file_handle_left()
    with pytest.raises(DataError, match="too many open files"):
        attempt(str(tmp_path / "a.png"), 8)


def test_a_corrupt_file_among_many_is_named_with_its_reason(make_folder):
    folder = make_folder([300, 300], test=1, size=(2, 2))
    path = folder / "train" / "class1" / "250.png"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DataError, match=r"1 of 602 images cannot be read: .*250\.png \(.+\)"):
        load(DataSpec(str(folder)))


class Forbidden(io.BytesIO):
    """A file that this user may not read, or that a broken disk does not give."""

    def __init__(self, number):
        super().__init__()
        self.number = number

    def read(self, *sizes):
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE])
def test_what_the_system_does_not_give_is_not_called_damaged(number):
    found = attempt(Forbidden(number), 8, "cat/1.png")
    assert found == Failure("cat/1.png", os.strerror(number), "withheld")
    assert not {"replace", "remove"} & {*unreadable([found], 9).hint.split()}
    assert "cat/1.png" in unreadable([found], 9).hint


def test_broken_bytes_are_called_damaged(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    found = attempt(str(tmp_path / "a.png"), 8)
    assert found.cause == "damaged"
    assert "replace" in unreadable([found], 9).hint
