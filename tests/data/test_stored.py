"""Decoded images and remembered numbers in the cache folder are what was written, or not used."""

import hashlib
import json
import os
import struct

import pytest
import torch
from decoded_files import HEADER, SEAL, end_of_pixels, file_of

from ltkd_cli.data import DataSpec, decoded, load, store
from ltkd_cli.errors import DataDamaged, DataError, DataMismatch


def overwrite(path, start, data):
    """Changes bytes in place, as a dying disk would."""
    with path.open("r+b") as file:
        file.seek(start)
        file.write(data)


def test_an_image_that_is_edited_while_it_is_stored_is_named(make_folder, monkeypatch):
    folder = make_folder([3, 3])
    edited = folder / "train" / "class1" / "002.png"
    spec, attempt = DataSpec(str(folder)), decoded.attempt

    def slow(file, short, name):
        image = attempt(file, short, name)
        if name == str(edited):
            edited.write_bytes(edited.read_bytes() + b"0")
        return image

    monkeypatch.setattr(decoded, "attempt", slow)
    with pytest.raises(DataMismatch, match=r"class1/002\.png"):
        load(spec)
    monkeypatch.undo()
    assert load(spec).train.class_counts() == [3, 3]


def test_half_of_the_test_images_zeroed_is_noticed(make_folder):
    spec = DataSpec(str(make_folder([3, 3], test=20)))
    load(spec)
    path = file_of(40)
    end = end_of_pixels(path)
    overwrite(path, end // 2, bytes(end - end // 2))
    test = load(spec).test.images
    with pytest.raises(DataDamaged, match=path.name) as caught:
        test.gather(torch.arange(40))
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("row", [0, 5, 11])
@pytest.mark.parametrize("read", ["gather", "resident"])
def test_one_flipped_bit_of_an_image_is_noticed(make_folder, row, read):
    spec = DataSpec(str(make_folder([6, 6])))
    load(spec)
    path = file_of(12)
    start = end_of_pixels(path) - (12 - row) * 192 + 100
    with path.open("rb") as file:
        file.seek(start)
        value = file.read(1)[0]
    overwrite(path, start, bytes([value ^ 1]))
    images = load(spec).train.images
    with pytest.raises(DataDamaged, match=f"first in row {row}"):
        images.resident if read == "resident" else images.gather(torch.tensor([row, row]))


def test_images_that_are_whole_are_given_though_others_are_not(make_folder):
    spec = DataSpec(str(make_folder([6, 6])))
    expected = load(spec).train.images.resident.clone()
    path = file_of(12)
    overwrite(path, end_of_pixels(path) - 192, bytes(192))
    images = load(spec).train.images
    assert torch.equal(images.gather(torch.arange(11)), expected[:11])
    with pytest.raises(DataDamaged):
        images.gather(torch.tensor([11]))


def test_after_the_error_the_images_are_decoded_anew(make_folder):
    spec = DataSpec(str(make_folder([6, 6])))
    expected = load(spec).train.images.resident.clone()
    path = file_of(12)
    overwrite(path, 200, bytes(300))
    with pytest.raises(DataDamaged):
        load(spec).train.images.gather(torch.arange(12))
    assert torch.equal(load(spec).train.images.resident, expected)


def test_a_damaged_file_that_another_process_has_replaced_is_left_alone(make_folder):
    spec = DataSpec(str(make_folder([6, 6])))
    load(spec)
    path = file_of(12)
    whole = path.read_bytes()
    overwrite(path, 200, bytes(300))
    images = load(spec).train.images
    path.unlink()
    path.with_name("other").write_bytes(whole)
    path.with_name("other").rename(path)
    with pytest.raises(DataDamaged):
        images.gather(torch.arange(12))
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("start", "length"),
    [(0, 1), (20, 3), (48, 1), (-1, 1), (-34, 3), (-50, 6)],
    ids=["magic", "kind", "count", "seal", "seal begins", "table"],
)
def test_a_damaged_header_or_trailer_means_decoding_again(make_folder, start, length):
    spec = DataSpec(str(make_folder([6, 6])))
    expected = load(spec).train.images.resident.clone()
    path = file_of(12)
    whole = path.read_bytes()
    start %= len(whole)
    overwrite(path, start, bytes(byte ^ 255 for byte in whole[start : start + length]))
    assert torch.equal(load(spec).train.images.resident, expected)
    assert path.read_bytes() == whole


def test_squares_whose_table_has_other_sides_are_not_believed(make_folder):
    spec = DataSpec(str(make_folder([6, 6])))
    expected = load(spec).train.images.resident.clone()
    path = file_of(12)
    whole, table = bytearray(path.read_bytes()), end_of_pixels(path)
    whole[table : table + 8] = struct.pack("<II", 4, 16)  # as many pixels as 8 x 8
    seal = hashlib.sha256(whole[:HEADER] + whole[table:-SEAL]).digest()
    path.write_bytes(whole[:-SEAL] + seal)
    assert torch.equal(load(spec).train.images.resident, expected)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "[1, 2]",
        "null",
        "7",
        '"text"',
        '{"numbers": 3}',
        '{"numbers": "[1, 2, 3, 4, 5, 6]", "sha256": "0"}',
        '{"numbers": [0.5, 0.5, 0.5, 0.1, 0.1, 0.1], "sha256": ""}',
        "[" * 100_000,
        "1" * 5_000,
    ],
    ids=lambda text: text[:30] or "empty",
)
def test_numbers_of_another_shape_are_found_anew(make_folder, text):
    spec = DataSpec(str(make_folder([3, 3])))
    expected = load(spec)
    paths = list(store.cache_folder().glob("*.json"))
    assert len(paths) == 4  # size, squares or not of both splits, statistics
    for path in paths:
        path.write_text(text)
    found = load(spec)
    assert (found.mean, found.std, found.spec) == (expected.mean, expected.std, expected.spec)
    assert all("sha256" in json.loads(path.read_text()) for path in paths)


@pytest.mark.parametrize("ending", ["images", "json", "table"])
def test_a_pipe_in_the_cache_folder_is_replaced_by_what_belongs_there(make_folder, ending):
    spec = DataSpec(str(make_folder([3, 3])))
    expected = load(spec)
    kept = expected.train.images.resident.clone()
    paths = list(store.cache_folder().glob(f"*.{ending}"))
    assert paths
    for path in paths:
        path.unlink()
        os.mkfifo(path)
    found = load(spec)
    assert (found.mean, found.train.fingerprint) == (expected.mean, expected.train.fingerprint)
    assert torch.equal(found.train.images.resident, kept)
    assert all(path.is_file() for path in paths)


def test_a_changed_digit_of_a_remembered_number_is_noticed(make_folder):
    spec = DataSpec(str(make_folder([3, 3])))
    expected = load(spec)
    for path in store.cache_folder().glob("*.json"):
        text = path.read_text()
        path.write_text(text.replace("0.", "1.").replace("[8]", "[9]").replace("[1]", "[0]"))
        assert path.read_text() != text
    found = load(spec)
    assert (found.mean, found.std, found.spec) == (expected.mean, expected.std, expected.spec)


def test_a_file_that_is_edited_while_it_is_decoded_on_demand_is_named(
    make_folder, write_image, monkeypatch
):
    from ltkd_cli.data import decoded

    monkeypatch.setattr(decoded, "STORED_LIMIT", 0)
    folder = make_folder([2, 2])
    images = load(DataSpec(str(folder))).train.images
    write_image(folder / "train" / "class1" / "001.png", seed=99)
    with pytest.raises(DataError, match=r"class1/001\.png was changed") as caught:
        images.gather(torch.arange(4))
    assert caught.value.exit_code == 3
