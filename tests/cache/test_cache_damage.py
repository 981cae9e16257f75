import h5py
import numpy as np
import pytest
from example_cache import example_attributes, example_layout, export, fill, partial_of

from ltkd_cli.cache import Cache, CacheWriter
from ltkd_cli.errors import CacheDamaged, CacheError, CacheMismatch


def change_byte(path, name, position):
    """Flips one bit of a dataset's byte."""
    with h5py.File(path) as file:
        place = file[name].id.get_offset() + position
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def copy_with(path, change):
    """Rewrites a cache through h5py, each dataset as `change(file, name, values)` makes it."""
    copy = path.with_name("copy.h5")
    with h5py.File(path) as old, h5py.File(copy, "w") as new:
        for name, value in old.attrs.items():
            new.attrs[name] = value
        for name in old:
            change(new, name, old[name][:])
    return copy


def unchanged(file, name, values):
    file.create_dataset(name, data=values)


def test_a_cache_that_h5py_wrote_is_read(path):
    cache = Cache.open(copy_with(export(path), unchanged))
    cache.verify()
    assert cache.layout.entries == 12


def test_an_intact_cache_verifies(cache):
    cache.verify()


@pytest.mark.parametrize("dtype", ["float16", "float32", "uint8"])
@pytest.mark.parametrize("name", ["logits", "features", "crc"])
def test_a_flipped_byte_is_found_and_named(path, dtype, name):
    export(path, example_layout(dtype))
    with h5py.File(path) as file:
        entry_size = file[name].nbytes // 12
    change_byte(path, name, 7 * entry_size)
    change_byte(path, name, 11 * entry_size)
    cache = Cache.open(path)
    with pytest.raises(CacheDamaged, match=r"2 of 12 entries .* first for row 4, view 1") as caught:
        cache.verify()
    assert caught.value.exit_code == 4
    assert str(path) in caught.value.problem
    assert "--force" in caught.value.hint


@pytest.mark.parametrize("name", ["logits_scale", "logits_offset"])
def test_a_flipped_byte_in_a_scale_is_found(path, name):
    export(path, example_layout("uint8"))
    change_byte(path, name, 0)
    with pytest.raises(CacheDamaged, match="row 0, view 0"):
        Cache.open(path).verify()


def test_damage_is_found_beyond_the_first_block(path):
    labels = np.zeros(5000, np.int32)
    layout = example_layout(width=0, first=np.arange(5001), labels=labels, classes=1)
    attributes = example_attributes(class_names=["one"], class_counts=[5000])
    with CacheWriter(path, layout, attributes) as writer:
        writer.write(0, np.zeros((5000, 1), np.float32))
        writer.finish()
    change_byte(path, "logits", 2 * 4999)
    with pytest.raises(CacheDamaged, match=r"1 of 5,000 entries .* row 4999, view 0"):
        Cache.open(path).verify()


def test_an_entry_without_its_flag_does_not_exist(path):
    export(path)
    change_byte(path, "done", 3)
    with pytest.raises(CacheDamaged, match=r"1 entries do not exist, the first for row 2, view 1"):
        Cache.open(path).verify()


def test_a_changed_label_is_found(path):
    export(path)
    change_byte(path, "labels", 0)
    with pytest.raises(CacheDamaged, match="class_counts"):
        Cache.open(path).verify()


def test_a_label_outside_the_classes_is_refused_when_opening(path):
    def outside(file, name, values):
        unchanged(file, name, values + 1 if name == "labels" else values)

    with pytest.raises(CacheDamaged, match=r"row 5 has label 3, outside 0 \.\.\. 2"):
        Cache.open(copy_with(export(path), outside))


def test_views_that_do_not_follow_each_other_are_refused_when_opening(path):
    def turned(file, name, values):
        unchanged(file, name, values[[0, 2, 1, 3, 4, 5, 6]] if name == "first" else values)

    with pytest.raises(CacheDamaged, match="`first` does not begin with 0 and grow"):
        Cache.open(copy_with(export(path), turned))


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.999])
def test_a_truncated_file_is_refused(path, share):
    content = export(path).read_bytes()
    path.write_bytes(content[: max(8, int(len(content) * share))])
    with pytest.raises(CacheDamaged, match="damaged: ") as caught:
        Cache.open(path)
    assert caught.value.exit_code == 4


def test_data_beyond_the_end_of_the_file_are_refused(path):
    export(path)
    with h5py.File(path) as file:
        logits = file["logits"]
        offset, size = logits.id.get_offset(), logits.nbytes
    content = path.read_bytes()
    where = offset.to_bytes(8, "little") + size.to_bytes(8, "little")
    beyond = (len(content) - size + 1).to_bytes(8, "little") + size.to_bytes(8, "little")
    assert content.count(where) == 1
    path.write_bytes(content.replace(where, beyond))
    with pytest.raises(CacheDamaged, match="is damaged"):
        Cache.open(path)


def test_a_group_in_place_of_a_dataset_is_refused(path):
    def grouped(file, name, values):
        if name == "logits":
            file.create_group(name)
        else:
            unchanged(file, name, values)

    with pytest.raises(CacheDamaged, match="`logits` is missing or not one contiguous range"):
        Cache.open(copy_with(export(path), grouped))


def test_an_empty_file_is_refused(path):
    path.touch()
    with pytest.raises(CacheDamaged, match="it is empty"):
        Cache.open(path)


def test_another_kind_of_file_is_refused(path):
    path.write_text("accuracy: 99 %")
    with pytest.raises(CacheError, match="is not an HDF5 file"):
        Cache.open(path)


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(CacheError, match="cannot be read: Is a directory"):
        Cache.open(tmp_path)


def test_another_kind_of_hdf5_file_is_refused(path):
    with h5py.File(path, "w") as file:
        file["logits"] = np.zeros((3, 4))
    with pytest.raises(CacheError, match="an HDF5 file, but not a cache"):
        Cache.open(path)


def test_a_newer_format_is_refused_with_both_numbers(path):
    export(path)
    with h5py.File(path, "r+") as file:
        file.attrs["format"] = 7
    with pytest.raises(CacheMismatch, match=r"has cache format 7, .* up to format 1") as caught:
        Cache.open(path)
    assert caught.value.exit_code == 3
    assert caught.value.hint == "pip install --upgrade ltkd"


def test_a_missing_cache_is_refused_with_the_command_that_makes_it(path):
    with pytest.raises(CacheError, match="There is no cache") as caught:
        Cache.open(path)
    assert caught.value.hint == f"ltkd export-logits --output {path}"


def test_an_unfinished_export_is_named_as_such(path):
    with CacheWriter(path, example_layout(), example_attributes()) as writer:
        fill(writer)
    for name in (path, partial_of(path)):
        with pytest.raises(CacheError, match=rf"The export of {path} is unfinished\.$") as caught:
            Cache.open(name)
        assert caught.value.hint == f"ltkd export-logits 0001-teach --views 3 --output {path}"


def test_a_renamed_partial_file_is_refused(path):
    with CacheWriter(path, example_layout(), example_attributes()) as writer:
        fill(writer)
    partial_of(path).rename(path)
    with pytest.raises(CacheError, match="unfinished"):
        Cache.open(path)


@pytest.mark.parametrize("name", ["logits", "features", "first", "labels", "crc", "done"])
def test_chunked_datasets_are_refused(path, name):
    def chunked(file, found, values):
        file.create_dataset(found, data=values, chunks=True if found == name else None)

    with pytest.raises(CacheDamaged, match=f"`{name}` is missing or not one contiguous range"):
        Cache.open(copy_with(export(path), chunked))


def test_links_to_other_files_are_refused(path):
    def linked(file, name, values):
        if name == "logits":
            file[name] = h5py.ExternalLink("cache.h5", "logits")
        else:
            unchanged(file, name, values)

    with pytest.raises(CacheDamaged, match="`logits` is missing or not one contiguous range"):
        Cache.open(copy_with(export(path), linked))


def test_data_outside_the_file_is_refused(path):
    def external(file, name, values):
        if name == "logits":
            other = [(str(path.with_name("raw.bin")), 0, values.nbytes)]
            file.create_dataset(name, data=values, external=other)
        else:
            unchanged(file, name, values)

    with pytest.raises(CacheDamaged, match="`logits` is missing or not one contiguous range"):
        Cache.open(copy_with(export(path), external))


@pytest.mark.parametrize("name", ["logits", "first", "labels", "crc", "done"])
def test_a_lacking_dataset_is_named(path, name):
    export(path)
    with h5py.File(path, "r+") as file:
        del file[name]
    with pytest.raises(CacheDamaged, match=f"`{name}` is missing"):
        Cache.open(path)


def test_uint8_logits_without_their_scale_are_refused(path):
    export(path, example_layout("uint8"))
    with h5py.File(path, "r+") as file:
        del file["logits_scale"]
    with pytest.raises(CacheDamaged, match="with uint8 logits, logits_scale does not belong or"):
        Cache.open(path)


@pytest.mark.parametrize("name", ["fingerprint", "class_names", "class_counts"])
def test_a_lacking_attribute_is_named(path, name):
    export(path)
    with h5py.File(path, "r+") as file:
        del file.attrs[name]
    with pytest.raises(CacheDamaged, match=f"no attribute {name}"):
        Cache.open(path)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("logits", lambda values: values[:-1]),
        ("logits", lambda values: values.astype(">f2")),
        ("logits", lambda values: values.astype("f8")),
        ("logits", lambda values: values.ravel()),
        ("features", lambda values: values.astype("f4")),
        ("features", lambda values: values[:, 0]),
        ("first", lambda values: values.astype("i4")),
        ("labels", lambda values: values[:-1]),
        ("crc", lambda values: values[:5]),
        ("done", lambda values: values.astype("u2")),
    ],
)
def test_wrong_types_and_shapes_are_refused(path, name, change):
    def changed(file, found, values):
        unchanged(file, found, change(values) if found == name else values)

    with pytest.raises(CacheDamaged, match="is damaged"):
        Cache.open(copy_with(export(path), changed))


def test_other_datasets_and_groups_are_ignored(path):
    export(path)
    with h5py.File(path, "r+") as file:
        file["notes/of/mine"] = np.arange(5)
    Cache.open(path).verify()


@pytest.mark.parametrize(
    ("name", "value"),
    [("view_seed", 1), ("fingerprint", "e" * 64), ("class_names", '["a", "b", "c"]')],
)
def test_an_attribute_that_is_not_what_was_written_is_damage(path, name, value):
    export(path)
    with h5py.File(path, "r+") as file:
        file.attrs[name] = value
    with pytest.raises(CacheDamaged, match="its attributes are not what was written"):
        Cache.open(path)


def test_a_cache_of_a_writer_without_that_checksum_is_read(path):
    export(path)
    attributes = Cache.open(path).attributes
    with h5py.File(path, "r+") as file:
        del file.attrs["attributes_crc"]
    found = Cache.open(path)
    found.verify()
    assert found.attributes == attributes


def test_attributes_with_broken_json_are_refused(path):
    export(path)
    with h5py.File(path, "r+") as file:
        file.attrs["class_names"] = "[broken"
    with pytest.raises(CacheDamaged, match="does not hold what a cache holds"):
        Cache.open(path)
