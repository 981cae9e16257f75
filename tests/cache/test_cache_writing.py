import os
import resource

import h5py
import numpy as np
import pytest
from example_cache import (
    FIRST,
    LABELS,
    begin,
    datasets,
    example_attributes,
    example_layout,
    example_outputs,
    export,
    fill,
    partial_of,
)

from benchmarks.faults.children import in_child
from ltkd_cli.cache import Cache, CacheWriter
from ltkd_cli.errors import CacheError


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


def test_the_same_bytes_come_of_any_block_size(path, tmp_path):
    layout = example_layout()
    logits, features = example_outputs(layout)
    with CacheWriter(path, layout, example_attributes()) as writer:
        for entry in reversed(range(12)):
            writer.write(entry, logits[entry : entry + 1], features[entry : entry + 1])
        writer.finish()
    assert datasets(path) == datasets(export(tmp_path / "blocks.h5"))


def test_finishing_changes_the_last_32_bytes_of_the_partial_file_only(path):
    with CacheWriter(path, example_layout(), example_attributes()) as writer:
        fill(writer, flush=True)
        before = partial_of(path).read_bytes()
        after = writer.finish().read_bytes()
    assert len(before) == len(after)
    assert before[:-32] == after[:-32]
    assert before[-32:] == bytes(32) != after[-32:]


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


def test_an_existing_cache_is_not_overwritten(path):
    before = export(path).read_bytes()
    with pytest.raises(CacheError, match=str(path)) as caught:
        export(path)
    assert "--force" in str(caught.value.hint)
    assert path.read_bytes() == before


def test_a_cache_that_appeared_meanwhile_is_not_overwritten(path):
    with CacheWriter(path, example_layout(), example_attributes()) as writer:
        fill(writer)
        path.write_text("precious")
        with pytest.raises(CacheError, match="exists already"):
            writer.finish()
    assert path.read_text() == "precious"


def test_a_folder_is_not_replaced(path):
    path.mkdir()
    with pytest.raises(CacheError, match=str(path)):
        export(path, replace=True)
    assert path.is_dir()


@pytest.mark.parametrize("letters", [250, 300, 5000])
def test_a_name_that_is_too_long_is_a_clear_error(tmp_path, letters):
    with pytest.raises(CacheError, match="x" * letters) as caught:
        export(tmp_path / f"{'x' * letters}.h5")
    assert caught.value.hint == "--output cache.h5"
    assert list(tmp_path.iterdir()) == []


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


def test_a_system_that_writes_three_bytes_at_a_time_makes_the_same_file(
    path, tmp_path, monkeypatch
):
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, offset: pwrite(file, data[:3], offset))
    export(path)
    monkeypatch.undo()
    assert datasets(path) == datasets(export(tmp_path / "whole.h5"))


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
        needed = 8 * (3 * 2 + 5 * 2 + 4 + 4 + 1)
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
