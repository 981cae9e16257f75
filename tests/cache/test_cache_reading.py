import json
import os
import pickle
import zlib

import h5py
import numpy as np
import pytest
import torch
from example_cache import (
    FIRST,
    LABELS,
    example_attributes,
    example_layout,
    example_outputs,
    export,
)

from benchmarks.faults.children import start_child
from benchmarks.faults.forging import read_trailer
from ltkd_cli.cache import Cache, CacheWriter, Layout, NoSuchEntry
from ltkd_cli.cache.pack import quantise
from ltkd_cli.errors import CacheMismatch, LtkdError

BOTH = frozenset({"logits", "features"})


def every_entry(layout):
    rows = np.repeat(np.arange(layout.rows), np.diff(layout.first))
    views = np.arange(layout.entries) - np.repeat(layout.first[:-1], np.diff(layout.first))
    return torch.from_numpy(rows), torch.from_numpy(views)


def test_float32_comes_back_exactly(path):
    layout = example_layout("float32")
    read = Cache.open(export(path, layout)).read(*every_entry(layout), BOTH)
    logits, features = example_outputs(layout)
    assert torch.equal(read["logits"], torch.from_numpy(logits))
    assert torch.equal(read["features"], torch.from_numpy(features))


def test_float16_comes_back_rounded_once(cache):
    read = cache.read(*every_entry(cache.layout), BOTH)
    logits, features = example_outputs(cache.layout)
    assert torch.equal(read["logits"], torch.from_numpy(logits).half().float())
    assert torch.equal(read["features"], torch.from_numpy(features).half().float())


def test_uint8_comes_back_within_half_a_step_of_each_entry(path):
    layout = example_layout("uint8")
    read = Cache.open(export(path, layout)).read(*every_entry(layout), BOTH)
    logits, features = example_outputs(layout)
    half_steps = (logits.max(1) - logits.min(1)) / 255 / 2
    assert (np.abs(read["logits"].numpy() - logits) <= half_steps[:, None] * 1.0001).all()
    assert torch.equal(read["features"], torch.from_numpy(features).half().float())


def test_uint8_keeps_an_entry_of_equal_logits_exactly(path):
    layout = example_layout("uint8", width=0)
    with CacheWriter(path, layout, example_attributes()) as writer:
        writer.write(0, np.full((12, 3), 2.5, np.float32))
        cache = Cache.open(writer.finish())
    read = cache.read(*every_entry(layout), frozenset({"logits"}))["logits"]
    assert (read == 2.5).all()


def test_uint8_steps_do_not_wrap_round_where_numbers_are_as_small_as_can_be():
    smallest = 2.0**-149
    logits = np.array([[0, 382 * smallest]], np.float32)
    assert quantise(logits)["logits"].tolist() == [[0, 255]]


def test_rows_and_views_are_read_in_any_order_and_repeatedly(cache):
    rows, views = torch.tensor([5, 0, 5, 2]), torch.tensor([2, 0, 2, 1])
    logits = torch.from_numpy(example_outputs(cache.layout)[0]).half().float()
    read = cache.read(rows, views, frozenset({"logits"}))
    assert read.keys() == {"logits"}
    assert torch.equal(read["logits"], logits[[11, 0, 11, 3]])


def test_views_of_names_first_entry_and_number(cache):
    first, number = cache.views_of(torch.tensor([5, 0, 2]))
    assert first.tolist() == [9, 0, 2]
    assert number.tolist() == [3, 1, 2]


@pytest.mark.parametrize(("row", "view"), [(0, 1), (2, 2), (5, -1), (6, 0), (-1, 0)])
def test_a_view_that_is_not_stored_is_named(cache, row, view):
    with pytest.raises(NoSuchEntry, match=rf"row {row}\b") as caught:
        cache.read(torch.tensor([4, row]), torch.tensor([0, view]), BOTH)
    assert isinstance(caught.value, LtkdError)
    assert isinstance(caught.value, IndexError)


@pytest.mark.parametrize("dtype", ["float16", "float32", "uint8"])
def test_h5py_alone_reads_the_same_numbers(path, dtype):
    layout = example_layout(dtype)
    cache = Cache.open(export(path, layout))
    read = cache.read(*every_entry(layout), BOTH)
    with h5py.File(path) as file:
        logits = file["logits"][:].astype(np.float32)
        if dtype == "uint8":
            logits = logits * file["logits_scale"][:][:, None] + file["logits_offset"][:][:, None]
        assert np.allclose(read["logits"].numpy(), logits, rtol=0, atol=1e-6)
        assert (read["features"].numpy() == file["features"][:]).all()
        assert (file["first"][:] == FIRST).all()
        assert (file["labels"][:] == LABELS).all()
        assert (file["done"][:] == 1).all()


@pytest.mark.parametrize("dtype", ["float16", "float32", "uint8"])
def test_crcs_are_of_the_number_and_the_stored_bytes_of_logits_and_of_features(path, dtype):
    export(path, example_layout(dtype))
    with h5py.File(path) as file:
        names = ["logits", "logits_scale", "logits_offset"]
        logits = [file[name][:] for name in names if name in file]
        for entry, crcs in enumerate(file["crc"][:]):
            number = entry.to_bytes(8, "little")
            stored = b"".join(values[entry].tobytes() for values in logits)
            features = file["features"][entry].tobytes()
            assert crcs.tolist() == [zlib.crc32(number + stored), zlib.crc32(number + features)]


def test_h5py_reads_the_attributes_that_the_trailer_names(cache):
    with h5py.File(cache.path) as file:
        nested = json.loads(file.attrs["json"])
        found = {
            name: json.loads(value) if name in nested else value
            for name, value in file.attrs.items()
            if name != "json"
        }
    assert found == cache.attributes


@pytest.mark.parametrize("dtype", ["float16", "float32", "uint8"])
def test_the_trailer_names_the_places_that_h5py_names(path, dtype):
    _, text = read_trailer(export(path, example_layout(dtype)))
    with h5py.File(path) as file:
        found = {
            name: {
                "type": dataset.dtype.str,
                "shape": list(dataset.shape),
                "offset": dataset.id.get_offset(),
            }
            for name, dataset in file.items()
        }
    assert text["datasets"] == found


def test_h5py_alone_reads_the_attributes(cache):
    with h5py.File(cache.path) as file:
        assert file.attrs["format"] == 2
        assert file.attrs["view_policy"] == "crop"
        assert json.loads(file.attrs["class_names"]) == ["ant", "bee", "cat"]
        assert "class_names" in json.loads(file.attrs["json"])


def test_attributes_come_back_as_they_were_given(path):
    given = {
        "a_list": [1, [2.5, None]],
        "a_nothing": None,
        "a_truth": True,
        "a_huge_number": 2**80,
        "a_text_like_json": '{"a": 1}',
        "a_text": "Käfer",
    }
    cache = Cache.open(export(path, attributes=example_attributes(**given)))
    assert {name: cache.attributes[name] for name in given} == given


def test_class_names_may_exceed_the_64_kib_of_an_attribute(path):
    names = [f"species number {c} of a very long list of names" for c in range(2000)]
    assert len(json.dumps(names)) > 2**16
    layout = Layout.even(np.arange(2000), classes=2000, views=1)
    with_names = example_attributes(class_names=names, class_counts=[1] * 2000)
    with CacheWriter(path, layout, with_names) as writer:
        writer.write(0, np.zeros((2000, 2000), np.float32))
        cache = Cache.open(writer.finish())
    assert cache.attributes["class_names"] == names


def test_time_and_versions_are_recorded(cache):
    assert {"created", "ltkd", "torch", "torchvision", "h5py"} <= cache.attributes.keys()


def test_layout_is_that_of_the_export(path):
    layout = Cache.open(export(path, example_layout("uint8"))).layout
    assert (layout.rows, layout.classes, layout.width, layout.dtype) == (6, 3, 5, "uint8")
    assert layout.first.tolist() == FIRST.tolist()


def test_absent_features_are_refused_with_the_command_that_stores_them(path):
    cache = Cache.open(export(path, example_layout(width=0)))
    cache.require(frozenset({"logits"}))
    with pytest.raises(CacheMismatch, match="holds no features") as caught:
        cache.require(BOTH)
    assert "export-logits 0001-teach --views 3 --policy crop --output" in str(caught.value.hint)
    assert caught.value.exit_code == 3


def test_reading_absent_features_is_refused(path):
    cache = Cache.open(export(path, example_layout(width=0)))
    with pytest.raises(CacheMismatch, match="holds no features"):
        cache.read(torch.tensor([0]), torch.tensor([0]), BOTH)


@pytest.mark.parametrize(
    ("dtype", "name", "stored"),
    [
        ("float16", "logits", torch.float16),
        ("float32", "features", torch.float32),
        ("uint8", "logits", torch.uint8),
        ("uint8", "logits_scale", torch.float32),
        ("float16", "labels", torch.int32),
    ],
)
def test_a_whole_dataset_comes_as_it_is_stored(path, dtype, name, stored):
    cache = Cache.open(export(path, example_layout(dtype)))
    whole = cache.tensor(name, "cpu")
    assert whole.dtype == stored
    with h5py.File(path) as file:
        assert np.array_equal(whole.numpy(), file[name][:])


@pytest.mark.parametrize("row", [-1, 6])
def test_views_of_a_row_that_is_not_stored_are_refused(cache, row):
    with pytest.raises(NoSuchEntry, match=rf"no row {row}; it has 6 rows"):
        cache.views_of(torch.tensor([0, row]))


def test_a_whole_dataset_is_copied_in_blocks(cache, monkeypatch):
    monkeypatch.setattr("ltkd_cli.cache.reader.BLOCK", 25)
    rows, views = every_entry(cache.layout)
    read = cache.read(rows, views, frozenset({"features"}))["features"]
    assert torch.equal(cache.tensor("features").float(), read)


def test_numbers_are_aligned_in_memory(path):
    cache = Cache.open(export(path, example_layout("uint8")))
    with h5py.File(path) as file:
        offsets = [file[name].id.get_offset() for name in cache.layout.datasets()]
    assert all(offset % 64 == 0 for offset in offsets)


def test_the_mapped_file_cannot_be_written(cache):
    with pytest.raises(ValueError, match="read-only"):
        cache.layout.labels[0] = 1


def test_pickling_carries_the_path_only(cache):
    text = pickle.dumps(cache)
    assert len(text) < 300
    rows, views = every_entry(cache.layout)
    again = pickle.loads(text).read(rows, views, BOTH)
    assert torch.equal(again["logits"], cache.read(rows, views, BOTH)["logits"])


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_twenty_processes_open_one_cache_at_once(cache):
    rows, views = every_entry(cache.layout)
    expected = cache.read(rows, views, BOTH)["logits"]

    def open_and_compare():
        read = Cache.open(cache.path).read(rows, views, BOTH)["logits"]
        assert torch.equal(read, expected)

    children = [start_child(open_and_compare) for _ in range(20)]
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 20


def test_the_name_may_end_in_anything(path):
    renamed = export(path).rename(path.with_suffix(".cache"))
    assert Cache.open(renamed).layout.entries == 12
