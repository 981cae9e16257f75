"""No byte of a complete cache can change without an error that names the file."""

import os
import shutil

import h5py
import numpy as np
import pytest
import torch
from example_cache import (
    FIRST,
    change_byte,
    example_attributes,
    example_layout,
    export,
    fill,
    partial_of,
)

from benchmarks.faults.forging import read_trailer
from ltkd_cli.cache import Cache, CacheWriter
from ltkd_cli.errors import CacheDamaged, CacheError

LAYOUTS = [("float16", 0), ("uint8", 5)]
BOTH = frozenset({"logits", "features"})
LOGITS = frozenset({"logits"})


def entry_bytes(path):
    """For every byte of an entry: its place in the file, its dataset and the entry."""
    found = {}
    with h5py.File(path) as file:
        for name in ("logits", "logits_scale", "logits_offset", "features"):
            if name in file:
                start, size = file[name].id.get_offset(), file[name].nbytes
                found |= {start + i: (name, i * len(file[name]) // size) for i in range(size)}
    return found


def place_of(path, name):
    with h5py.File(path) as file:
        return file[name].id.get_offset(), file[name].nbytes


def overwrite(path, offset, data):
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def row_and_view(entry):
    row = int(np.searchsorted(FIRST, entry, side="right")) - 1
    return torch.tensor([row]), torch.tensor([entry - FIRST[row]])


@pytest.mark.parametrize(("dtype", "width"), LAYOUTS)
def test_a_flipped_bit_in_any_byte_that_is_no_entry_is_found_when_opening(path, dtype, width):
    export(path, example_layout(dtype, width))
    whole, entries = path.read_bytes(), entry_bytes(path)
    bits = np.random.default_rng(5).integers(0, 8, len(whole))
    with path.open("r+b", buffering=0) as file:
        for byte in range(len(whole)):
            if byte not in entries:
                os.pwrite(file.fileno(), bytes([whole[byte] ^ 1 << bits[byte]]), byte)
                with pytest.raises(CacheDamaged, match=str(path)):
                    Cache.open(path)
                os.pwrite(file.fileno(), whole[byte : byte + 1], byte)
    Cache.open(path).verify()


@pytest.mark.parametrize(("dtype", "width"), LAYOUTS)
def test_a_flipped_bit_in_any_byte_of_an_entry_is_found_when_it_is_read(path, dtype, width):
    export(path, example_layout(dtype, width))
    whole, entries = path.read_bytes(), entry_bytes(path)
    with path.open("r+b", buffering=0) as file:
        for byte, (name, entry) in entries.items():
            os.pwrite(file.fileno(), bytes([whole[byte] ^ 1 << byte % 8]), byte)
            needed = frozenset({name}) if name == "features" else LOGITS
            rows, views = row_and_view(entry)
            with pytest.raises(CacheDamaged, match=f"{path}.* row {int(rows)}, view {int(views)} "):
                Cache.open(path).read(rows, views, needed)
            os.pwrite(file.fileno(), whole[byte : byte + 1], byte)


@pytest.mark.parametrize("dtype", ["float16", "uint8"])
@pytest.mark.parametrize("name", ["logits", "features"])
def test_a_damaged_entry_is_found_in_a_batch_of_sound_ones(path, dtype, name):
    export(path, example_layout(dtype))
    change_byte(path, name, 7)
    rows, views = torch.tensor([0, 4, 5]), torch.tensor([0, 1, 2])
    with pytest.raises(CacheDamaged, match="row 4, view 1") as caught:
        Cache.open(path).read(rows, views, BOTH)
    assert caught.value.exit_code == 4


def test_a_part_that_is_not_asked_for_is_not_read(path):
    export(path)
    change_byte(path, "features", 7)
    cache, (rows, views) = Cache.open(path), row_and_view(7)
    cache.read(rows, views, LOGITS)
    with pytest.raises(CacheDamaged, match=str(path)):
        cache.read(rows, views, BOTH)


@pytest.mark.parametrize("name", ["logits", "features"])
def test_a_damaged_entry_is_found_in_a_whole_dataset(path, name):
    export(path)
    change_byte(path, name, 7)
    with pytest.raises(CacheDamaged, match="row 4, view 1"):
        Cache.open(path).tensor(name)


def test_entries_that_were_read_are_not_checked_again(path):
    cache = Cache.open(export(path))
    rows, views = row_and_view(7)
    cache.read(rows, views, LOGITS)
    change_byte(path, "logits", 7)
    cache.read(rows, views, LOGITS)
    with pytest.raises(CacheDamaged, match=str(path)):
        cache.verify()


@pytest.mark.parametrize("name", ["logits", "features"])
def test_entries_that_changed_places_are_found(path, name):
    export(path)
    offset, size = place_of(path, name)
    entry, content = size // 12, path.read_bytes()
    first, second = (content[offset + i * entry : offset + (i + 1) * entry] for i in (2, 3))
    overwrite(path, offset + 2 * entry, second + first)
    with pytest.raises(CacheDamaged, match="row 2, view 0"):
        Cache.open(path).read(*row_and_view(2), BOTH)


def test_entries_that_changed_places_with_their_crcs_are_found(path):
    export(path)
    for name in ("logits", "features", "crc"):
        offset, size = place_of(path, name)
        content = path.read_bytes()[offset : offset + size]
        turned = np.frombuffer(content, np.uint8).reshape(12, -1)[[0, 1, 3, 2, *range(4, 12)]]
        overwrite(path, offset, turned.tobytes())
    with pytest.raises(CacheDamaged, match=str(path)):
        Cache.open(path)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("first", np.array([0, 2, 3, 5, 7, 10, 12], "<i8")),
        ("labels", np.array([0, 0, 1, 0, 1, 2], "<i4")),
        ("done", np.zeros(12, np.uint8)),
        ("crc", np.zeros((12, 2), "<u4")),
    ],
)
def test_another_dataset_in_place_of_one_that_is_no_entry_is_found(path, name, values):
    export(path)
    offset, size = place_of(path, name)
    assert size == values.nbytes
    overwrite(path, offset, values.tobytes())
    with pytest.raises(CacheDamaged, match=str(path)):
        Cache.open(path)


@pytest.mark.parametrize("name", [b"view_seed", b"class_names", b"logits", b"done"])
def test_another_name_of_an_attribute_or_dataset_is_found(path, name):
    whole = export(path).read_bytes()
    path.write_bytes(whole.replace(name, bytes(reversed(name)), 1))
    with pytest.raises(CacheDamaged, match=str(path)):
        Cache.open(path)


@pytest.mark.parametrize("command", ["open", "verify"])
def test_an_intact_cache_is_read(cache, command):
    getattr(cache, command)(*[cache.path] * (command == "open"))


@pytest.mark.parametrize("dtype", ["float16", "float32", "uint8"])
@pytest.mark.parametrize("name", ["logits", "features"])
def test_verify_counts_damaged_entries_and_names_the_first(path, dtype, name):
    export(path, example_layout(dtype))
    change_byte(path, name, 7)
    change_byte(path, name, 11)
    with pytest.raises(CacheDamaged, match=r"2 of 12 entries .* row 4, view 1") as caught:
        Cache.open(path).verify()
    assert caught.value.exit_code == 4
    assert str(path) in caught.value.problem
    assert "--force" in str(caught.value.hint)


def test_damage_is_found_beyond_the_first_block(path):
    labels = np.zeros(5000, np.int32)
    layout = example_layout(width=0, first=np.arange(5001), labels=labels, classes=1)
    attributes = example_attributes(class_names=["one"], class_counts=[5000])
    with CacheWriter(path, layout, attributes) as writer:
        writer.write(0, np.zeros((5000, 1), np.float32))
        writer.finish()
    change_byte(path, "logits", 4999)
    with pytest.raises(CacheDamaged, match="row 4999, view 0"):
        Cache.open(path).verify()


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(path, share):
    content = export(path).read_bytes()
    path.write_bytes(content[: max(8, int(len(content) * share))])
    with pytest.raises(CacheDamaged, match=str(path)) as caught:
        Cache.open(path)
    assert caught.value.exit_code == 4


def test_a_file_without_its_trailer_is_refused(path):
    end, _ = read_trailer(export(path))
    path.write_bytes(path.read_bytes()[:end])
    with pytest.raises(CacheDamaged, match=str(path)):
        Cache.open(path)


def test_what_an_hdf5_program_changed_is_damage(path):
    export(path)
    with h5py.File(path, "r+") as file:
        file.attrs["mine"] = 1
    with pytest.raises(CacheDamaged, match=str(path)):
        Cache.open(path)


@pytest.mark.parametrize("garbage", [b"\0", b"garbage" * 100, bytes(88)])
def test_bytes_behind_the_end_are_refused(path, garbage):
    export(path)
    with path.open("ab") as file:
        file.write(garbage)
    with pytest.raises(CacheDamaged, match=str(path)):
        Cache.open(path)


def test_an_empty_file_is_refused(path):
    path.touch()
    with pytest.raises(CacheDamaged, match=str(path)):
        Cache.open(path)


def test_another_kind_of_file_is_refused(path):
    path.write_text("accuracy: 99 %")
    with pytest.raises(CacheError, match=str(path)):
        Cache.open(path)


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(CacheError, match=str(tmp_path)):
        Cache.open(tmp_path)


def test_a_fifo_is_refused_and_not_waited_for(path):
    os.mkfifo(path)
    with pytest.raises(CacheError, match=str(path)):
        Cache.open(path)


def test_a_name_that_no_file_can_have_is_refused(path):
    with pytest.raises(CacheError, match="no cache"):
        Cache.open(path.with_name("x" * 300))


def test_a_missing_cache_is_refused_with_the_command_that_makes_it(path):
    with pytest.raises(CacheError, match=str(path)) as caught:
        Cache.open(path)
    assert str(caught.value.hint) == f"ltkd export-logits --output {path}"
    (path.parent / "run.json").write_text("{}")
    with pytest.raises(CacheError) as caught:
        Cache.open(path)
    expected = f"ltkd export-logits {path.parent} --output {path}  # with the --views and"
    assert str(caught.value.hint).startswith(expected)


def test_an_unfinished_export_is_named_as_such_with_the_command_that_goes_on(path):
    with CacheWriter(path, example_layout(), example_attributes()) as writer:
        fill(writer)
    for name in (path, partial_of(path)):
        with pytest.raises(CacheError, match=f"{path} is unfinished") as caught:
            Cache.open(name)
        expected = f"ltkd export-logits 0001-teach --views 3 --policy crop --output {path}"
        assert str(caught.value.hint) == expected


@pytest.mark.parametrize("content", [b"", b"mine", bytes(1000)])
def test_an_unfinished_export_that_cannot_be_read_is_named_as_such(path, content):
    partial_of(path).write_bytes(content)
    with pytest.raises(CacheError, match=f"{path} is unfinished"):
        Cache.open(path)


def test_a_renamed_partial_file_is_refused(path):
    with CacheWriter(path, example_layout(), example_attributes()) as writer:
        fill(writer)
    partial_of(path).rename(path)
    with pytest.raises(CacheError, match="unfinished") as caught:
        Cache.open(path)
    expected = f"ltkd export-logits 0001-teach --views 3 --policy crop --output {path} --force"
    assert str(caught.value.hint) == expected
    with pytest.raises(CacheError, match="exists already"):
        export(path)
    assert Cache.open(export(path, replace=True)).layout.rows == example_layout().rows


def test_a_cache_that_nobody_touches_is_unchanged(cache):
    cache.read(*row_and_view(7), BOTH)
    cache.check_unchanged()


def changed_in_place(path):
    overwrite(path, place_of(path, "logits")[0], b"\0\0")


def replaced(path):
    export(path.with_name("new.h5")).replace(path)


def copied_over(path):
    other = export(path.with_name("new.h5"), attributes=example_attributes(view_seed=1))
    shutil.copyfile(other, path)


def removed(path):
    path.unlink()


def cut(path):
    os.truncate(path, 100)


@pytest.mark.parametrize("change", [changed_in_place, replaced, copied_over, removed, cut])
def test_a_file_that_changes_under_its_reader_is_noticed(path, change):
    cache = Cache.open(export(path))
    os.utime(path, ns=(0, path.stat().st_mtime_ns - 10**9))
    cache = Cache.open(path)
    change(path)
    with pytest.raises(CacheDamaged, match=str(path)):
        cache.check_unchanged()


def test_a_reader_of_a_replaced_file_goes_on_with_the_old_one(path):
    cache = Cache.open(export(path))
    before = cache.read(*row_and_view(7), BOTH)["logits"]
    layout = example_layout()
    with CacheWriter(path, layout, example_attributes(), replace=True) as writer:
        writer.write(0, np.zeros((12, 3), np.float32), np.zeros((12, 5), np.float32))
        writer.finish()
    assert torch.equal(cache.read(*row_and_view(7), BOTH)["logits"], before)


def test_a_reader_of_a_file_that_was_cut_gets_an_error_and_no_signal(path):
    cache = Cache.open(export(path))
    os.truncate(path, 0)
    with pytest.raises(CacheDamaged, match=str(path)):
        cache.read(*row_and_view(7), BOTH)
    with pytest.raises(CacheDamaged, match=str(path)):
        cache.tensor("logits")
    with pytest.raises(CacheDamaged, match=str(path)):
        cache.verify()
