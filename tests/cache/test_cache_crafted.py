"""Files whose checksums are right and whose contents are not: an error names each of them."""

import os

import pytest
from example_cache import example_layout, export

from benchmarks.faults.forging import forge, forge_attributes, opened
from ltkd_cli.cache import Cache, trailer
from ltkd_cli.errors import CacheDamaged, CacheMismatch

ODD = [None, True, -1, 0, 2.5, 10**30, "", "text", [], [1, [2]], {}, {"a": None}, [None] * 3]
"""Values that a JSON text may hold in place of another."""

NAMES = (
    *("format", "fingerprint", "class_names", "class_counts", "data_spec", "groups"),
    *("view_policy", "view_seed", "view_version", "teacher_run", "teacher_sha256"),
    *("teacher_model", "teacher_scores", "autocast", "device", "created", "test_fingerprint"),
)


def test_a_trailer_that_was_only_written_anew_is_read(path):
    Cache.open(forge(export(path), lambda text: None)).verify()


@pytest.mark.parametrize("name", NAMES)
def test_odd_values_of_attributes_are_refused_or_read_but_nothing_else(path, name):
    sealed = export(path).read_bytes()
    outcomes = []
    for value in ODD:
        path.write_bytes(sealed)
        outcomes.append(opened(forge_attributes(path, **{name: value})))
    errors = [outcome for outcome in outcomes if not isinstance(outcome, Cache)]
    assert len(errors) > len(ODD) // 2
    assert all(str(path) in error.problem for error in errors)


@pytest.mark.parametrize("name", ["fingerprint", "class_names", "class_counts", "format"])
def test_a_lacking_attribute_is_named(path, name):
    with pytest.raises(CacheDamaged, match=f"{path}.*{name}"):
        Cache.open(forge_attributes(export(path), name))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("class_names", ["ant", "bee"]),
        ("class_names", ["ant", "bee", 7]),
        ("class_counts", [2, 3, 1]),
        ("class_counts", [3, 2, 1, 0]),
        ("teacher_scores", {"all": {"accuracy": "99 %"}}),
        ("teacher_model", {"classes": 3}),
        ("groups", {"rule": "rank", "of_class": "head"}),
    ],
)
def test_attributes_that_do_not_fit_are_named(path, name, value):
    with pytest.raises(CacheDamaged, match=f"{path}.*{name}"):
        Cache.open(forge_attributes(export(path), **{name: value}))


@pytest.mark.parametrize("name", ["logits", "first", "labels", "crc", "done"])
def test_a_lacking_dataset_is_named(path, name):
    with pytest.raises(CacheDamaged, match=f"{path}.*{name}"):
        Cache.open(forge(export(path), lambda text: text["datasets"].pop(name) and None))


def test_uint8_logits_without_their_scale_are_refused(path):
    export(path, example_layout("uint8"))
    with pytest.raises(CacheDamaged, match=f"{path}.*logits_scale"):
        Cache.open(forge(path, lambda text: text["datasets"].pop("logits_scale") and None))


@pytest.mark.parametrize("field", ["type", "shape", "offset"])
@pytest.mark.parametrize("name", ["logits", "labels", "crc"])
def test_odd_places_of_datasets_are_refused(path, name, field):
    sealed = export(path).read_bytes()
    for value in [*ODD, ">f2", "<f8", "O", [12], [12, -3], [2**62, 2**62], 2**63]:
        path.write_bytes(sealed)
        forge(path, lambda text, value=value: text["datasets"][name].update({field: value}))
        with pytest.raises(CacheDamaged, match=str(path)):
            Cache.open(path)


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("logits", "shape", [11, 3]),
        ("logits", "shape", [36]),
        ("logits", "type", "<f4"),
        ("features", "shape", [12]),
        ("first", "shape", [6]),
        ("first", "type", "<i4"),
        ("labels", "shape", [5]),
        ("crc", "shape", [12]),
        ("crc", "shape", [12, 1]),
        ("done", "shape", [3, 4]),
    ],
)
def test_shapes_and_types_that_disagree_are_refused(path, name, field, value):
    def change(text):
        text["datasets"][name][field] = value

    with pytest.raises(CacheDamaged, match=str(path)):
        Cache.open(forge(export(path), change))


@pytest.mark.parametrize("name", ["labels", "first", "done"])
def test_what_no_checksum_runs_over_is_refused(path, name):
    def change(text):
        place = text["datasets"][name]
        text["later"] = [found for found in text["later"] if found[0] != place["offset"]]
        text["entries"].append([place["offset"], 4])

    with pytest.raises(CacheDamaged, match=str(path)):
        Cache.open(forge(export(path), change))


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b"null", b"[]", b"{}", b"{", b"\xff", b'"' + b"x" * 1000),
        *(b"[" * 100_000, b'{"a":' * 100_000),
        b'{"format": 2, "entries": [], "later": []}',
        b'{"format": 2, "entries": [[0, 99999999999]], "later": []}',
        b'{"format": 2, "entries": [[-1, 1]], "later": []}',
        b'{"format": 2, "entries": [[0, 10], [5, 10]], "later": []}',
        b'{"format": 2, "entries": [[' + b"9" * 5000 + b", 1]], " + b'"later": []}',
        b'{"format": true, "entries": [], "later": []}',
    ],
    ids=lambda text: text[:60].decode(errors="replace"),
)
def test_a_text_that_is_not_that_of_a_trailer_is_refused(path, text):
    export(path)
    footer = trailer.FOOTER.pack(trailer.MAGIC, len(text), b"", b"x")
    with path.open("ab") as file:
        file.write(text + footer)
    with pytest.raises(CacheDamaged, match=str(path)):
        Cache.open(path)


@pytest.mark.parametrize("length", [2**64 - 1, 2**63, 2**40, 10**6])
def test_a_text_that_does_not_fit_into_the_file_is_refused(path, length):
    export(path)
    with path.open("ab") as file:
        file.write(trailer.FOOTER.pack(trailer.MAGIC, length, b"", b""))
    with pytest.raises(CacheDamaged, match=str(path)):
        Cache.open(path)


def test_a_newer_format_is_refused_with_both_numbers(path):
    def change(text):
        text["format"] = 7
        text["datasets"] = "otherwise"

    with pytest.raises(CacheMismatch, match=r"format 7, .* format 2") as caught:
        Cache.open(forge(export(path), change))
    assert caught.value.exit_code == 3
    assert caught.value.hint == "pip install --upgrade ltkd"


@pytest.mark.parametrize("number", [1, 0, -1])
def test_an_older_format_has_no_trailer(path, number):
    with pytest.raises(CacheDamaged, match=str(path)):
        Cache.open(forge(export(path), lambda text: text.update(format=number)))


def test_a_file_of_nothing_but_a_trailer_is_refused(path):
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    trailer.append(descriptor, 0, b'{"format": 2, "entries": [], "later": []}')
    trailer.seal(descriptor)
    os.close(descriptor)
    with pytest.raises(CacheDamaged, match=str(path)):
        Cache.open(path)


def test_other_attributes_are_kept_as_they_are(path):
    given = {"a_list": [1, [2.5, None]], "json": "mine", "model_config": {"a": 1}}
    cache = Cache.open(forge_attributes(export(path), **given))
    assert {name: cache.attributes[name] for name in given} == given
