"""Dataclasses from what a JSON file holds, with every field checked."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any, TypeVar

Record = TypeVar("Record")


def from_json(kind: type[Record], values: object, **names: type) -> Record:
    """The dataclass `kind` with the fields in `values`; ValueError names one that does not fit.

    A field that is absent takes its default. `names` are types that its annotations mention and
    its module does not import.
    """
    return typing.cast(Record, _record(kind, values, names, ""))


def _record(kind: Any, values: object, names: dict[str, type], inside: str) -> Any:
    if not isinstance(values, dict):
        raise ValueError(f"{inside.rstrip('.') or 'it'} is not an object with fields")
    hints = typing.get_type_hints(kind, localns=names)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    if unknown := [name for name in values if name not in fields]:
        raise ValueError(f"there is no field {inside}{unknown[0]}")
    needed = (name for name, field in fields.items() if not _has_default(field))
    if missing := [name for name in needed if name not in values]:
        raise ValueError(f"field {inside}{missing[0]} is missing")
    return kind(
        **{name: _value(hints[name], values[name], names, inside + name) for name in values}
    )


def _value(kind: Any, value: object, names: dict[str, type], where: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):  # `kind | None`
        own = next(argument for argument in arguments if argument is not type(None))
        return None if value is None else _value(own, value, names, where)
    if dataclasses.is_dataclass(kind):
        return _record(kind, value, names, f"{where}.")
    if origin is tuple and isinstance(value, list):
        return tuple(_value(arguments[0], each, names, where) for each in value)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not (origin or kind):
        raise ValueError(f"{where} cannot be {str(value)[:60]!r}")
    return value


def _has_default(field: dataclasses.Field[Any]) -> bool:
    absent = dataclasses.MISSING
    return field.default is not absent or field.default_factory is not absent
