"""What is parsed from a file: of its declared type, or refused with the place in the message."""

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict

import pytest

from ltkd_cli.records import MAX_DEPTH, Invalid, between, checked, from_json, parse_json


class Inner(TypedDict):
    share: Annotated[float, between(0, 1)]


@dataclass
class Outer:
    name: str
    kind: Literal["a", "b"]
    inner: Inner
    sizes: tuple[int, ...] = ()
    mean: tuple[float, float] = (0.0, 0.0)
    note: str | None = None
    free: dict[str, Any] | None = None


GOOD = {"name": "x", "kind": "a", "inner": {"share": 0.5}}


def test_a_record_is_built_with_lists_as_tuples_and_whole_numbers_as_floats():
    built = from_json(Outer, {**GOOD, "sizes": [1, 2], "mean": [1, 2.5], "free": {"any": [None]}})
    assert built == Outer("x", "a", {"share": 0.5}, (1, 2), (1.0, 2.5), None, {"any": [None]})
    assert type(built.mean[0]) is float


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"name": 1}, "name"),
        ({"name": None}, "name"),
        ({"kind": "c"}, "kind"),
        ({"kind": ["a"]}, "kind"),
        ({"inner": []}, "inner"),
        ({"inner": {}}, "inner.share"),
        ({"inner": {"share": "0.5"}}, "inner.share"),
        ({"inner": {"share": 2}}, "inner.share"),
        ({"inner": {"share": True}}, "inner.share"),
        ({"inner": {"share": math.nan}}, "inner.share"),
        ({"sizes": [1, 2.0]}, "sizes[1]"),
        ({"sizes": 1}, "sizes"),
        ({"mean": [1]}, "mean"),
        ({"note": 5}, "note"),
        ({"free": [5]}, "free"),
        ({"other": 5}, "other"),
    ],
)
def test_another_type_is_refused_with_its_place(changes, place):
    with pytest.raises(Invalid) as caught:
        from_json(Outer, {**GOOD, **changes})
    assert str(caught.value).startswith(place)


@pytest.mark.parametrize("name", list(GOOD))
def test_a_field_that_is_missing_is_named(name):
    with pytest.raises(Invalid, match=name):
        from_json(Outer, {key: value for key, value in GOOD.items() if key != name})


@pytest.mark.parametrize("value", [None, 5, "x", [GOOD]])
def test_a_record_is_an_object(value):
    with pytest.raises(Invalid):
        from_json(Outer, value)


def test_fields_that_a_typed_dict_does_not_know_are_kept():
    assert checked({"share": 1, "later": "x"}, Inner) == {"share": 1.0, "later": "x"}


def test_what_is_shown_of_a_value_is_short():
    with pytest.raises(Invalid) as caught:
        checked("x" * 10**6, int)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"\xff\xfe{}",
        b'{"a": NaN}',
        b"[-Infinity]",
        b"[1e999]",
        b"[" + b"9" * 19 + b"]",
        b"[" + b"9" * 5000 + b"]",
        b'{"a": {"b": 1, "b": 2}}',
        b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
)
def test_json_that_programs_read_differently_or_not_at_all_is_refused(text):
    with pytest.raises(Invalid):
        parse_json(text)


def test_plain_json_is_read():
    nested = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert parse_json(b'{"a": [1, -2.5e3, "\\udcff", true, null]}') == {
        "a": [1, -2500.0, "\udcff", True, None]
    }
    parse_json(nested)
    assert parse_json(b"[9223372036854775807, -9223372036854775807]")[0] == 2**63 - 1
