"""Files of format 1: read with all the care there can be, and a warning."""

import h5py
import numpy as np
import pytest
import torch
from example_cache import change_byte, example_layout, export

from benchmarks.faults.forging import format_1, opened, plainly
from ltkd_cli.cache import Cache, format1
from ltkd_cli.errors import CacheDamaged, CacheError, CacheMismatch

ROWS, VIEWS = torch.tensor([0, 4, 5]), torch.tensor([0, 1, 2])
BOTH = frozenset({"logits", "features"})


@pytest.fixture
def sealed(path):
    """A cache of format 2 to make one of format 1 from."""
    return export(path)


def otherwise(name, make):
    """Writes dataset `name` by `make(file, name, values)`, and the others plainly."""
    return lambda file, found, values: (make if found == name else plainly)(file, found, values)


def changed(name, change):
    return otherwise(name, lambda file, found, values: plainly(file, found, change(values)))


def test_it_holds_the_same_numbers_and_warns(sealed):
    old, new = Cache.open(format_1(sealed)), Cache.open(sealed)
    old.verify()
    assert torch.equal(old.read(ROWS, VIEWS, BOTH)["logits"], new.read(ROWS, VIEWS, BOTH)["logits"])
    assert len(old.warnings) == 1
    assert str(old.path) in old.warnings[0]
    assert new.warnings == ()


@pytest.mark.parametrize("name", ["logits", "features", "crc"])
def test_a_damaged_entry_is_found_when_it_is_read(sealed, name):
    path = format_1(sealed)
    change_byte(path, name, 7)
    with pytest.raises(CacheDamaged, match=f"{path}.*row 4, view 1"):
        Cache.open(path).read(ROWS, VIEWS, frozenset({"logits"}))


def test_a_damaged_scale_is_found(path):
    other = format_1(export(path, example_layout("uint8")))
    change_byte(other, "logits_scale", 7)
    with pytest.raises(CacheDamaged, match="row 4, view 1"):
        Cache.open(other).tensor("logits")


def chunked(file, name, values):
    file.create_dataset(name, data=values, chunks=True)


def grouped(file, name, values):
    file.create_group(name)


def linked(file, name, values):
    file[name] = h5py.ExternalLink("cache.h5", name)


def outside(file, name, values):
    file.create_dataset(name, data=values, external=[("raw.bin", 0, values.nbytes)])


def left_out(file, name, values):
    pass


@pytest.mark.parametrize("make", [chunked, grouped, linked, outside, left_out])
def test_a_dataset_that_is_not_one_range_of_this_file_is_refused(sealed, make, monkeypatch):
    monkeypatch.chdir(sealed.parent)
    with pytest.raises(CacheDamaged, match="logits"):
        Cache.open(format_1(sealed, otherwise("logits", make)))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("logits", lambda values: values[:-1]),
        ("logits", lambda values: values.astype(">f2")),
        ("features", lambda values: values[:, 0]),
        ("first", lambda values: values[[0, 2, 1, 3, 4, 5, 6]]),
        ("labels", lambda values: values + 1),
        ("labels", np.zeros_like),
        ("done", np.zeros_like),
    ],
)
def test_datasets_that_disagree_are_refused(sealed, name, change):
    with pytest.raises(CacheDamaged, match=r"format1\.h5"):
        Cache.open(format_1(sealed, changed(name, change)))


@pytest.mark.parametrize(
    "value",
    [np.array([1, 2]), h5py.Empty("f4"), np.bytes_(b"bytes"), np.float64("nan"), 1.5, "[broken"],
    ids=repr,
)
def test_odd_attributes_are_refused(sealed, value):
    with pytest.raises(CacheDamaged, match=r"format1\.h5"):
        Cache.open(format_1(sealed, class_names=value))


def test_attributes_that_are_not_what_was_written_are_found(sealed):
    path = format_1(sealed)
    with h5py.File(path, "r+") as file:
        plain = {
            name: getattr(value, "item", lambda v=value: v)() for name, value in file.attrs.items()
        }
        file.attrs["attributes_crc"] = format1.checksum(plain)
    Cache.open(path)
    with h5py.File(path, "r+") as file:
        file.attrs["view_seed"] = 1
    with pytest.raises(CacheDamaged, match=str(path)):
        Cache.open(path)


def test_an_unfinished_file_is_refused(sealed):
    with pytest.raises(CacheError, match="unfinished"):
        Cache.open(format_1(sealed, complete=False))


def test_another_kind_of_hdf5_file_is_refused(path):
    with h5py.File(path, "w") as file:
        file["logits"] = np.zeros((3, 4))
    with pytest.raises(CacheError, match=str(path)) as caught:
        Cache.open(path)
    assert caught.value.exit_code == 1


def test_a_newer_format_without_a_trailer_is_refused(sealed):
    with pytest.raises(CacheMismatch, match="format 7"):
        Cache.open(format_1(sealed, format=7))


def test_a_crash_or_an_endless_loop_of_hdf5_is_damage(sealed, tmp_path, monkeypatch):
    path, program = format_1(sealed), tmp_path / "program.py"
    monkeypatch.setattr(format1, "PROBE", program)
    program.write_text("import os; os.abort()")
    with pytest.raises(CacheDamaged, match=str(path)):
        Cache.open(path)
    program.write_text("while True: pass")
    monkeypatch.setattr(format1, "PATIENCE", 0.2)
    with pytest.raises(CacheDamaged, match=str(path)):
        Cache.open(path)


def test_flipped_bits_in_the_structure_of_hdf5_end_in_an_error_or_in_the_same_numbers(sealed):
    path = format_1(sealed)
    whole, expected = path.read_bytes(), Cache.open(path).read(ROWS, VIEWS, BOTH)
    generator = np.random.default_rng(1)
    for byte in generator.integers(0, 2000, 8):
        damaged = bytearray(whole)
        damaged[byte] ^= 1 << generator.integers(0, 8)
        path.write_bytes(damaged)
        cache = opened(path)
        if isinstance(cache, Cache):
            assert torch.equal(cache.read(ROWS, VIEWS, BOTH)["logits"], expected["logits"])
        else:
            assert str(path) in cache.problem
