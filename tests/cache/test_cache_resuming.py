import os

import h5py
import numpy as np
import pytest
from example_cache import (
    begin,
    change_byte,
    datasets,
    example_attributes,
    example_layout,
    export,
    fill,
    partial_of,
)

from benchmarks.faults.forging import format_1
from ltkd_cli.cache import Cache, CacheWriter, Layout, container
from ltkd_cli.errors import CacheDamaged, CacheError, CacheMismatch

LATER = ("logits", "features", "crc", "done")
"""What is written after a partial file was begun."""


def test_a_resumed_export_writes_only_what_is_missing(path):
    begin(path, [0, 1, 2, 3, 9])
    with CacheWriter(path, example_layout(), example_attributes()) as writer:
        assert writer.missing().tolist() == [4, 5, 6, 7, 8, 10, 11]


def test_a_resumed_export_equals_an_uninterrupted_one(path, tmp_path):
    begin(path, [4, 5, 6, 11])
    assert datasets(export(path)) == datasets(export(tmp_path / "whole.h5"))


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"fingerprint": "e" * 64}, "fingerprint: "),
        ({"teacher_sha256": "b" * 64}, "teacher_sha256: "),
        (
            {"teacher_model": {"name": "resnet32", "classes": 3, "mean": [0.5, 0.5, 0.5]}},
            'teacher_model.name: partial file has "resnet20", this export has "resnet32"',
        ),
        ({"view_policy": "none"}, 'view_policy: partial file has "crop", this export has "none"'),
        ({"view_seed": 1}, "view_seed: partial file has 0, this export has 1"),
        (
            {"policy": {"spec": "crop", "seed": 0, "versions": {"crop": 2}}},
            "policy.versions.crop: partial file has 1, this export has 2",
        ),
        ({"test_fingerprint": "9" * 64}, "test_fingerprint: "),
        ({"view_version": 2}, "view_version: partial file has 1, this export has 2"),
        ({"autocast": "bfloat16"}, 'autocast: partial file has null, this export has "bfloat16"'),
        ({"device": "cpu"}, 'device: partial file has "cuda", this export has "cpu"'),
        ({"mix": True}, "mix: partial file has false, this export has true"),
        ({"input_size": 224}, "input_size: partial file has nothing, this export has 224"),
        (
            {"class_names": ["ant", "cat", "bee"]},
            'class_names[1]: partial file has "bee", this export has "cat"',
        ),
    ],
)
def test_other_settings_are_refused_field_by_field(path, changed, line):
    begin(path)
    before = partial_of(path).read_bytes()
    with pytest.raises(CacheMismatch) as caught:
        export(path, attributes=example_attributes(**changed))
    assert f"\n  {line}" in caught.value.problem
    assert caught.value.hint.startswith(f"to start anew: rm {partial_of(path)}; to go on:")
    assert caught.value.exit_code == 3
    assert partial_of(path).read_bytes() == before


@pytest.mark.parametrize(
    ("layout", "line"),
    [
        (
            example_layout("float32"),
            'dtype: partial file has "float16", this export has "float32"',
        ),
        (example_layout(width=0), "width: partial file has 5, this export has 0"),
        (
            example_layout(first=[0, 2, 3, 5, 7, 10, 13]),
            "views[0]: partial file has 1, this export has 2",
        ),
        (
            example_layout(labels=[0, 0, 0, 1, 2, 1]),
            "labels[4]: partial file has 1, this export has 2",
        ),
        (
            Layout.even(np.array([0, 0, 0, 1, 1, 2]), 3, views=2, width=5),
            "views[0]: partial file has 1, this export has 2",
        ),
    ],
)
def test_another_layout_is_refused_field_by_field(path, layout, line):
    begin(path)
    with pytest.raises(CacheMismatch) as caught:
        export(path, layout)
    assert line in caught.value.problem


def test_other_rows_are_refused(path):
    begin(path)
    layout = example_layout(first=[0, 1, 2, 3, 4], labels=[0, 0, 1, 2])
    with pytest.raises(CacheMismatch, match="rows: partial file has 6, this export has 4"):
        export(path, layout, example_attributes(class_counts=[2, 1, 1]))


@pytest.mark.parametrize(
    "changed",
    [
        {"created": "2020-01-01T00:00:00+00:00"},
        {"torch": "9.9"},
        {"ltkd": "9.9"},
        {"device": "cuda:3"},
        {"data_spec": {"data": "example", "root": "/elsewhere"}},
        {"teacher_run": "0002-teach"},
    ],
)
def test_when_where_and_by_which_version_does_not_matter(path, changed):
    begin(path)
    assert export(path, attributes=example_attributes(**changed)).exists()


@pytest.mark.parametrize("keep", [0, 7, 100, 2000, -1])
@pytest.mark.parametrize("replace", [False, True])
def test_a_truncated_partial_file_is_refused_and_kept(path, keep, replace):
    begin(path)
    content = partial_of(path).read_bytes()
    partial_of(path).write_bytes(content[:keep])
    refused_and_kept(path, replace)
    assert partial_of(path).read_bytes() == content[:keep]


def refused_and_kept(path, replace=False):
    """The partial file is not ltkd's own, or not whole: only the user may remove it."""
    with pytest.raises(CacheError, match=str(partial_of(path))) as caught:
        export(path, replace=replace)
    assert caught.value.hint == f"to start anew: rm {partial_of(path)}"
    assert not path.exists()


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("content", [b"my notes", b"", bytes(5000)])
def test_the_users_own_file_in_place_of_a_partial_one_is_kept(path, content, replace):
    partial_of(path).write_bytes(content)
    refused_and_kept(path, replace)
    assert partial_of(path).read_bytes() == content


def test_a_partial_file_that_is_another_kind_of_hdf5_file_is_left_alone(path):
    with h5py.File(partial_of(path), "w") as file:
        file["mine"] = [1, 2, 3]
    refused_and_kept(path)
    with h5py.File(partial_of(path)) as file:
        assert file["mine"][:].tolist() == [1, 2, 3]


def test_a_partial_file_of_format_1_is_left_alone(path, tmp_path):
    format_1(export(tmp_path / "other.h5"), complete=False).rename(partial_of(path))
    refused_and_kept(path)


@pytest.mark.parametrize("name", ["cache.h5.partial", "cache.h5.partial.lock"])
def test_a_link_in_place_of_a_file_of_its_own_is_not_followed(path, tmp_path, name):
    target = tmp_path / "target"
    target.write_bytes(b"{}")
    (tmp_path / name).symlink_to(target)
    with pytest.raises(CacheError, match=name):
        export(path)
    assert target.read_bytes() == b"{}"
    assert (tmp_path / name).is_symlink()


@pytest.mark.parametrize("name", ["cache.h5.partial", "cache.h5.partial.lock"])
def test_a_fifo_in_place_of_a_file_of_its_own_is_not_waited_for(path, tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(CacheError, match=name):
        export(path)
    assert (tmp_path / name).is_fifo()


def test_the_draft_of_a_killed_export_is_replaced_and_not_followed(path, tmp_path):
    (tmp_path / "target").write_text("precious")
    (tmp_path / ".cache.h5.ltkd-draft").symlink_to(tmp_path / "target")
    Cache.open(export(path)).verify()
    assert (tmp_path / "target").read_text() == "precious"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache.h5", "target"]


@pytest.mark.parametrize("dtype", ["float16", "float32", "uint8"])
@pytest.mark.parametrize("name", ["logits", "features", "crc"])
def test_zeros_in_place_of_what_was_written_are_noticed_and_written_anew(path, name, dtype):
    layout = example_layout(dtype)
    with CacheWriter(path, layout, example_attributes()) as writer:
        fill(writer, range(8))
    with h5py.File(partial_of(path)) as file:
        offset, size = file[name].id.get_offset(), file[name].nbytes
    with partial_of(path).open("r+b") as file:
        file.seek(offset)
        file.write(bytes(size))
    with CacheWriter(path, layout, example_attributes()) as writer:
        assert len(writer.missing()) == 12
        assert str(partial_of(path)) in writer.warnings[0]
        assert "8" in writer.warnings[0]
        fill(writer)
        writer.finish()
    Cache.open(path).verify()


def test_flags_without_entries_are_noticed(path):
    begin(path, [])
    with h5py.File(partial_of(path)) as file:
        offset = file["done"].id.get_offset()
    with partial_of(path).open("r+b") as file:
        file.seek(offset)
        file.write(bytes([1, 2, 255]))
    with CacheWriter(path, example_layout(), example_attributes()) as writer:
        assert len(writer.missing()) == 12


def test_a_resumed_export_without_damage_has_no_warnings(path):
    begin(path)
    with CacheWriter(path, example_layout(), example_attributes()) as writer:
        assert writer.warnings == ()


def test_every_byte_that_a_partial_file_was_begun_with_is_checked(path):
    begin(path)
    whole = partial_of(path).read_bytes()
    with h5py.File(partial_of(path)) as file:
        places = [(file[n].id.get_offset(), file[n].nbytes) for n in file if n in LATER]
    later = {byte for start, size in places for byte in range(start, start + size)}
    with partial_of(path).open("r+b", buffering=0) as file:
        for byte in range(len(whole) - 32):
            if byte not in later:
                os.pwrite(file.fileno(), bytes([whole[byte] ^ 1 << byte % 8]), byte)
                with pytest.raises(CacheDamaged, match=str(partial_of(path))):
                    container.read(partial_of(path), unfinished=True)
                os.pwrite(file.fileno(), whole[byte : byte + 1], byte)
    assert container.read(partial_of(path), unfinished=True)


def test_a_partial_file_whose_description_changed_is_refused_and_kept(path):
    begin(path)
    change_byte(partial_of(path), "first", 2)
    before = partial_of(path).read_bytes()
    refused_and_kept(path)
    assert partial_of(path).read_bytes() == before


def test_a_seal_that_was_half_written_does_not_matter(path, tmp_path):
    begin(path, range(12))
    content = bytearray(partial_of(path).read_bytes())
    content[-32:-16] = b"x" * 16
    partial_of(path).write_bytes(content)
    assert datasets(export(path)) == datasets(export(tmp_path / "whole.h5"))


@pytest.mark.parametrize("name", ["logits", "features", "crc"])
def test_finish_finds_a_flipped_byte_and_the_next_writer_mends_it(path, name):
    with CacheWriter(path, example_layout(), example_attributes()) as writer:
        fill(writer)
        change_byte(partial_of(path), name, 7)
        with pytest.raises(CacheDamaged, match="row 4, view 1"):
            writer.finish()
    assert not path.exists()
    with CacheWriter(path, example_layout(), example_attributes()) as writer:
        assert writer.missing().tolist() == [7]
    Cache.open(export(path)).verify()


def test_finish_finds_a_changed_label(path):
    with CacheWriter(path, example_layout(), example_attributes()) as writer:
        fill(writer)
        change_byte(partial_of(path), "labels", 0)
        with pytest.raises(CacheDamaged, match=str(partial_of(path))):
            writer.finish()
    assert not path.exists()
