import resource

import h5py
import numpy as np
import pytest
from example_cache import (
    FIRST,
    LABELS,
    example_attributes,
    example_layout,
    example_outputs,
    export,
    fill,
    in_child,
    partial_of,
)

from ltkd_cli.cache import Cache, CacheWriter, Layout
from ltkd_cli.errors import CacheDamaged, CacheError, CacheMismatch

ENTRIES = ("logits", "features", "labels", "crc", "done")


def begin(path, entries=(0, 1, 2, 3), **options):
    """Leaves a partial file that holds some entries."""
    with CacheWriter(path, example_layout(), example_attributes(), **options) as writer:
        fill(writer, entries)


def datasets(path):
    with h5py.File(path) as file:
        return {name: file[name][:].tobytes() for name in ENTRIES}


def change_byte(path, name, entry):
    with h5py.File(path) as file:
        dataset = file[name]
        offset = dataset.id.get_offset() + entry * dataset.nbytes // len(dataset)
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def test_the_file_has_its_name_only_when_it_is_whole(path):
    with CacheWriter(path, example_layout(), example_attributes()) as writer:
        fill(writer)
        assert not path.exists()
        assert partial_of(path).exists()
        writer.finish()
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_new_folder_is_made(tmp_path):
    assert export(tmp_path / "new" / "folder" / "cache.h5").exists()


def test_missing_says_what_is_still_to_be_written(path):
    with CacheWriter(path, example_layout(), example_attributes()) as writer:
        assert writer.missing().tolist() == list(range(12))
        fill(writer, [2, 3, 8])
        assert writer.missing().tolist() == [0, 1, 4, 5, 6, 7, 9, 10, 11]


def test_a_resumed_export_writes_only_what_is_missing(path):
    begin(path, [0, 1, 2, 3, 9])
    with CacheWriter(path, example_layout(), example_attributes()) as writer:
        assert writer.missing().tolist() == [4, 5, 6, 7, 8, 10, 11]


def test_a_resumed_export_equals_an_uninterrupted_one(path, tmp_path):
    begin(path, [4, 5, 6, 11])
    assert datasets(export(path)) == datasets(export(tmp_path / "whole.h5"))


def test_the_same_bytes_come_of_any_block_size(path, tmp_path):
    layout = example_layout()
    logits, features = example_outputs(layout)
    with CacheWriter(path, layout, example_attributes()) as writer:
        for entry in reversed(range(12)):
            writer.write(entry, logits[entry : entry + 1], features[entry : entry + 1])
        writer.finish()
    assert datasets(path) == datasets(export(tmp_path / "blocks.h5"))


def test_finishing_changes_one_byte_of_the_partial_file(path):
    with CacheWriter(path, example_layout(), example_attributes()) as writer:
        fill(writer, flush=True)
        before = partial_of(path).read_bytes()
        after = writer.finish().read_bytes()
    assert len(before) == len(after)
    assert sum(a != b for a, b in zip(before, after, strict=True)) == 1


def test_an_error_inside_keeps_what_was_written(path):
    def interrupted():
        with CacheWriter(path, example_layout(), example_attributes()) as writer:
            fill(writer, [0, 1, 2])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with CacheWriter(path, example_layout(), example_attributes()) as writer:
        assert writer.missing().tolist() == list(range(3, 12))


def test_flags_are_set_by_themselves_after_some_seconds(path, monkeypatch):
    monkeypatch.setattr("ltkd_cli.cache.writer.SYNC_SECONDS", 0.0)
    with CacheWriter(path, example_layout(), example_attributes()) as writer:
        fill(writer, [0, 1])
        with h5py.File(partial_of(path), locking=False) as file:
            assert file["done"][:3].tolist() == [1, 1, 0]


def test_several_processes_fill_one_file(path, tmp_path):
    def second_half():
        with CacheWriter(path, example_layout(), example_attributes(), join=True) as writer:
            fill(writer, range(6, 12))

    with CacheWriter(path, example_layout(), example_attributes()) as writer:
        fill(writer, range(6))
        assert in_child(second_half) == 0
        writer.finish()
    assert datasets(path) == datasets(export(tmp_path / "alone.h5"))


def test_joining_an_export_that_nobody_began_is_refused(path):
    with (
        pytest.raises(CacheError, match="does not exist"),
        CacheWriter(path, example_layout(), example_attributes(), join=True),
    ):
        pass


def test_only_the_holder_of_the_lock_finishes(path):
    with (
        CacheWriter(path, example_layout(), example_attributes()),
        CacheWriter(path, example_layout(), example_attributes(), join=True) as joined,
    ):
        fill(joined)
        with pytest.raises(ValueError, match="holds the lock"):
            joined.finish()


def test_an_existing_cache_is_not_overwritten(path):
    before = export(path).read_bytes()
    with pytest.raises(CacheError, match="exists already") as caught:
        export(path)
    assert "--force" in caught.value.hint
    assert "--output" in caught.value.hint
    assert path.read_bytes() == before


def test_a_cache_that_appeared_meanwhile_is_not_overwritten(path):
    with CacheWriter(path, example_layout(), example_attributes()) as writer:
        fill(writer)
        path.write_text("precious")
        with pytest.raises(CacheError, match="exists already"):
            writer.finish()
    assert path.read_text() == "precious"


def test_replacing_keeps_the_old_file_until_the_new_one_is_whole(path):
    before = export(path, attributes=example_attributes(view_seed=1)).read_bytes()
    begin(path, replace=True)
    assert path.read_bytes() == before
    assert Cache.open(export(path, replace=True)).attributes["view_seed"] == 0


def test_an_unfinished_cache_does_not_finish(path):
    with CacheWriter(path, example_layout(), example_attributes()) as writer:
        fill(writer, range(10))
        with pytest.raises(CacheError, match="still lacks 2 of 12 entries"):
            writer.finish()
    assert not path.exists()


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


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 60_000.0, -60_000.0])
@pytest.mark.parametrize("what", ["logit", "feature"])
def test_numbers_that_do_not_fit_are_refused_with_row_and_view(path, what, value):
    layout = example_layout()
    logits, features = example_outputs(layout)
    (logits if what == "logit" else features)[8, 1] = value
    with (
        CacheWriter(path, layout, example_attributes()) as writer,
        pytest.raises(CacheError) as caught,
    ):
        writer.write(6, logits[6:], features[6:])
    assert caught.value.problem.startswith(
        f"For row 4, view 2, the teacher gives a {what} of {value:g}"
    )
    assert caught.value.exit_code == 1
    with CacheWriter(path, layout, example_attributes()) as writer:
        assert len(writer.missing()) == 12


def test_numbers_just_below_the_limit_are_stored(path):
    layout = example_layout(width=0)
    with CacheWriter(path, layout, example_attributes()) as writer:
        writer.write(0, np.full((12, 3), -59_999.0, np.float32))
        assert Cache.open(writer.finish()).tensor("logits").float().eq(-60_000).all()


@pytest.mark.parametrize(
    ("start", "logits", "features"),
    [(0, (2, 4), (2, 5)), (0, (2, 3), (2, 4)), (0, (2, 3), None), (11, (2, 3), (2, 5))],
)
def test_wrong_shapes_are_a_mistake_of_the_caller(path, start, logits, features):
    with (
        CacheWriter(path, example_layout(), example_attributes()) as writer,
        pytest.raises(ValueError, match=r"fit the layout|no entries"),
    ):
        writer.write(start, np.zeros(logits), None if features is None else np.zeros(features))


def test_writing_after_finish_is_a_mistake_of_the_caller(path):
    with CacheWriter(path, example_layout(), example_attributes()) as writer:
        fill(writer)
        writer.finish()
        with pytest.raises(ValueError, match="before `finish`"):
            writer.write(0, *(array[:1] for array in example_outputs(writer.layout)))


@pytest.mark.parametrize(
    ("labels", "first"),
    [([0, 0, 0, 1, 1, 3], FIRST), (LABELS, [0, 1, 1, 4, 6, 9, 12]), (LABELS, FIRST + 1)],
)
def test_a_layout_that_breaks_the_format_is_a_mistake_of_the_caller(path, labels, first):
    with pytest.raises(ValueError, match=r"outside|does not begin|count"):
        CacheWriter(path, example_layout(labels=labels, first=first), example_attributes())


def test_class_counts_must_count_the_labels(path):
    with pytest.raises(ValueError, match="class_counts"):
        CacheWriter(path, example_layout(), example_attributes(class_counts=[2, 2, 2]))


def test_a_disk_that_is_too_small_is_refused_before_anything_is_written(path):
    layout = example_layout(width=10**13)
    with (
        pytest.raises(
            CacheError, match=r"needs 2\d\d,\d{3},\d{3},\d{3},\d{3} bytes, and [\d,]+ are"
        ),
        CacheWriter(path, layout, example_attributes()),
    ):
        pass
    assert list(path.parent.iterdir()) == []


def limit_file_size(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_disk_that_fills_up_at_creation_leaves_nothing(path):
    def export_with_little_room():
        limit_file_size(3000)
        with pytest.raises(CacheError, match=r"cannot be written: File too large; [\d,]+ more"):
            export(path)

    assert in_child(export_with_little_room) == 0
    assert list(path.parent.iterdir()) == []


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_disk_that_fills_up_keeps_the_partial_file_for_resuming(path, tmp_path):
    def export_with_little_room():
        with CacheWriter(path, example_layout(), example_attributes()) as writer:
            fill(writer, range(4), flush=True)
            with h5py.File(partial_of(path), locking=False) as file:
                limit_file_size(file["logits"].id.get_offset() + 6 * 6 + 1)
            with pytest.raises(CacheError) as caught:
                fill(writer, range(4, 12))
        needed = 8 * (3 * 2 + 5 * 2 + 4 + 1)
        assert f"File too large; {needed} more bytes are needed and " in caught.value.problem
        assert caught.value.hint == "ulimit -f unlimited"

    assert in_child(export_with_little_room) == 0
    with CacheWriter(path, example_layout(), example_attributes()) as writer:
        assert writer.missing().tolist() == list(range(4, 12))
    assert datasets(export(path)) == datasets(export(tmp_path / "whole.h5"))


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match=r"cannot be written: File exists .*file\)"):
        export(tmp_path / "file" / "cache.h5")
