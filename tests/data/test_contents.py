"""Every byte of every image counts, is read once, and is read again when the file has changed."""

import os
import sys

import numpy as np
import pytest
from PIL import Image

from ltkd_cli.data import DataSpec, contents, load, store

OPENED = []
LISTENING = []


def listen(event, arguments):
    if LISTENING and event == "open" and isinstance(arguments[0], str):
        OPENED.append(arguments[0])


sys.addaudithook(listen)


@pytest.fixture
def settled(monkeypatch):
    """Hashes are remembered at once, however young the files are."""
    monkeypatch.setattr(contents, "SETTLED_NS", -(10**18))


def opened_while_loading(folder):
    """Names of the images that are opened while a folder is loaded."""
    OPENED.clear()
    LISTENING.append(True)
    try:
        load(DataSpec(str(folder)))
    finally:
        LISTENING.clear()
    return [path for path in OPENED if path.startswith(str(folder)) and path.endswith(".bmp")]


def write_bmp(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = (np.arange(8 * 8 * 3) * 7 + value) % 256
    Image.fromarray(pixels.astype(np.uint8).reshape(8, 8, 3)).save(path)


@pytest.fixture
def pets(tmp_path):
    """Images without compression, so that all files have the same size: 9 and 120."""
    for split, count in (("train", 5), ("test", 60)):
        for label in range(2):
            for number in range(count - label * (split == "train")):
                path = tmp_path / "pets" / split / f"class{label}" / f"{number:03}.bmp"
                write_bmp(path, 100 * label + number + (split == "train"))
    return tmp_path / "pets"


def replace_keeping_size_and_time(path):
    before = path.stat()
    write_bmp(path, 255)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)


@pytest.mark.usefixtures("settled")
def test_88_of_120_test_images_replaced_by_others_of_the_same_size_are_noticed(pets):
    before = load(DataSpec(str(pets)))
    for path in sorted((pets / "test").rglob("*.bmp"))[16:104]:
        replace_keeping_size_and_time(path)
    after = load(DataSpec(str(pets)))
    assert after.test.fingerprint != before.test.fingerprint
    assert after.train.fingerprint == before.train.fingerprint


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("row", [0, 3, 8])
def test_a_single_edited_file_is_noticed_and_decoded_again(pets, row):
    before = load(DataSpec(str(pets))).train
    kept = before.images.resident.clone()
    replace_keeping_size_and_time(sorted((pets / "train").rglob("*.bmp"))[row])
    after = load(DataSpec(str(pets))).train
    assert after.fingerprint != before.fingerprint
    changed = (after.images.resident != kept).flatten(1).any(1)
    assert changed.nonzero().flatten().tolist() == [row]


@pytest.mark.usefixtures("settled")
def test_the_second_start_opens_no_image(pets):
    assert len(set(opened_while_loading(pets))) == 129
    assert opened_while_loading(pets) == []


@pytest.mark.usefixtures("settled")
def test_only_the_files_of_the_split_that_changed_are_opened(pets):
    load(DataSpec(str(pets)))
    replace_keeping_size_and_time(pets / "train" / "class1" / "002.bmp")
    assert not [path for path in opened_while_loading(pets) if "/test/" in path]


def test_the_hash_of_a_file_that_has_just_changed_is_not_remembered(pets):
    load(DataSpec(str(pets)))
    assert len(set(opened_while_loading(pets))) == 129


@pytest.mark.usefixtures("settled")
def test_a_touched_file_keeps_its_fingerprint(pets):
    before = load(DataSpec(str(pets))).train.fingerprint
    for path in (pets / "train").rglob("*.bmp"):
        os.utime(path, ns=(0, 12_345))
    assert load(DataSpec(str(pets))).train.fingerprint == before


DAMAGE = {
    "cut": lambda whole: whole[:-1],
    "empty": lambda whole: b"",
    "grown": lambda whole: whole + b"\0",
    "another file": lambda whole: b'{"images": 9}',
    "flipped hash": lambda whole: whole[:-40] + bytes([whole[-40] ^ 1]) + whole[-39:],
    "flipped stamp": lambda whole: whole[:20] + bytes([whole[20] ^ 1]) + whole[21:],
    "zeros": lambda whole: bytes(len(whole)),
}


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_table_is_made_anew(pets, damage):
    before = load(DataSpec(str(pets))).train.fingerprint
    tables = list(store.cache_folder().glob("contents-*.table"))
    assert len(tables) == 2
    whole = {path: path.read_bytes() for path in tables}
    for path in tables:
        path.write_bytes(damage(path.read_bytes()))
    assert load(DataSpec(str(pets))).train.fingerprint == before
    assert {path: path.read_bytes() for path in tables} == whole


@pytest.mark.usefixtures("settled")
def test_a_file_that_takes_the_place_of_another_is_noticed(pets):
    before = load(DataSpec(str(pets))).train.fingerprint
    first, second = (pets / "train" / "class0" / f"00{number}.bmp" for number in (1, 2))
    stamp = first.stat().st_mtime_ns
    first.rename(pets / "kept")
    second.rename(first)
    (pets / "kept").rename(second)
    for path in (first, second):
        os.utime(path, ns=(stamp, stamp))
    assert load(DataSpec(str(pets))).train.fingerprint != before


def test_the_fingerprint_of_0_1_0_is_still_known(tmp_path):
    for split, counts in (("train", (4, 3)), ("test", (2, 2))):
        for label, count in enumerate(counts):
            for number in range(count):
                value = 7 + number + 10 * label + 100 * (split == "test")
                pixels = (np.arange(8 * 8 * 3) * value) % 256
                path = tmp_path / "pets" / split / f"class{label}" / f"{number}.bmp"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels.astype(np.uint8).reshape(8, 8, 3)).save(path)
    data = load(DataSpec(str(tmp_path / "pets")))
    # computed by version 0.1.0
    train = "50acc087d15520af464b2a0ce66a2651a550407a37ec392e64f18d32c201cfda"
    test = "160aef7b011225483fbc5938ea09d4a9be75607bec96a9e194e4c36fe5ffd9fc"
    assert data.train.matches(train)
    assert data.test.matches(test)
    assert data.train.matches(data.train.fingerprint)
    assert data.train.fingerprint != train
    assert not data.train.matches(test)
    assert not data.train.matches(None)


def test_sets_that_come_as_arrays_keep_their_fingerprint():
    train = load(DataSpec()).train
    assert train.fingerprint == train.fingerprint_v1
