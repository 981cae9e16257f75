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

from ltkd_cli.cache import Cache, CacheWriter, Layout
from ltkd_cli.errors import CacheDamaged, CacheError, CacheMismatch


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
            "views of row 0: partial file has 1, this export has 2",
        ),
        (
            example_layout(labels=[0, 0, 0, 1, 2, 1]),
            "label of row 4 (and 1 more): partial file has 1, this export has 2",
        ),
        (
            Layout.even(np.array([0, 0, 0, 1, 1, 2]), 3, views=2, width=5),
            "views of row 0 (and 3 more): partial file has 1, this export has 2",
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
def test_a_truncated_partial_file_is_started_anew(path, keep):
    begin(path)
    content = partial_of(path).read_bytes()
    partial_of(path).write_bytes(content[:keep])
    with CacheWriter(path, example_layout(), example_attributes()) as writer:
        assert len(writer.missing()) == 12
        fill(writer)
        writer.finish()
    Cache.open(path).verify()


def test_a_partial_file_that_is_another_kind_of_hdf5_file_is_left_alone(path):
    with h5py.File(partial_of(path), "w") as file:
        file["mine"] = [1, 2, 3]
    with pytest.raises(CacheError, match="not a cache"):
        export(path)
    assert partial_of(path).exists()


@pytest.mark.parametrize("name", ["logits", "features", "crc"])
def test_finish_finds_a_flipped_byte_and_the_next_writer_mends_it(path, name):
    begin(path, range(12))
    change_byte(partial_of(path), name, 7)
    with (
        pytest.raises(CacheDamaged, match=r"1 entries .* row 4, view 1"),
        CacheWriter(path, example_layout(), example_attributes()) as writer,
    ):
        writer.finish()
    assert not path.exists()
    with CacheWriter(path, example_layout(), example_attributes()) as writer:
        assert writer.missing().tolist() == [7]
    Cache.open(export(path)).verify()
