"""What is parsed from a file, checked once against declared types before anything uses it.

A type is declared as for a type checker: a dataclass, a TypedDict, `list[str]`, `int | None`,
`Literal["a", "b"]`. `Annotated[T, check]` calls `check(value)` as well, which raises ValueError;
`Annotated[dict[str, Any], SomeTypedDict]` asks for the fields of the TypedDict as well.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Callable, Iterable, Mapping
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from .errors import shortened

T = TypeVar("T")
Names = Mapping[str, Any]

LARGEST = 2**63 - 1
"""Whole number; beyond it there is no count, size or seed of anything here."""

MAX_DEPTH = 32
"""Of lists and objects within one another."""


class Invalid(ValueError):
    """A value that is not of its declared type; the message says where and why."""


def parse_json(data: bytes, largest: int = LARGEST) -> Any:
    """The value in JSON text that any program would read alike; Invalid for all other bytes.

    Refused are: what is not UTF-8, NaN and Infinity, numbers beyond float64 or `largest`, a
    name that an object has twice, and nesting beyond MAX_DEPTH.
    """
    try:
        value = json.loads(
            data.decode(),
            parse_int=functools.partial(_int, largest=largest),
            parse_float=_float,
            parse_constant=_float,
            object_pairs_hook=_object,
        )
    except RecursionError:
        raise Invalid("it is nested too deeply") from None
    except UnicodeDecodeError:
        raise Invalid("it is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise Invalid(f"it is not JSON ({error})") from None
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [each for inner in level for each in _contents(inner)]
    if level:
        raise Invalid("it is nested too deeply")
    return value


def checked(value: Any, kind: Any, where: str = "", names: Names | None = None) -> Any:
    """`value` as the type `kind`: lists as the tuples that it asks for, and dataclasses built.

    Fields that a TypedDict does not know stay; a dataclass allows none. Invalid names `where`.
    `names` are types that annotations mention and their module does not import.
    """
    return _Check(names or {}).value(value, kind, where)


def from_json(kind: type[T], values: Any, **names: Any) -> T:
    """The dataclass `kind` with the fields in `values`; Invalid names one that does not fit."""
    return cast(T, checked(values, kind, names=names))


def between(low: float, high: float) -> Callable[[float], None]:
    """A check for `Annotated`: a number from `low` to `high`."""

    def check(value: float) -> None:
        if not low <= value <= high:
            raise ValueError(f"must be from {low:,} to {high:,}")

    return check


Count = Annotated[int, between(0, 10**15)]
"""Of images, classes, bytes and the like."""


@dataclasses.dataclass(frozen=True)
class _Check:
    names: Names

    def value(self, value: Any, kind: Any, where: str) -> Any:
        origin, arguments = get_origin(kind), get_args(kind)
        if origin is Annotated:
            return self.annotated(value, arguments, where)
        if origin in (Union, UnionType):
            return self.one_of(value, arguments, where)
        if origin is Literal:
            return _require(type(value) is str and value in arguments, value, kind, where)
        if origin in (list, tuple):
            return self.sequence(value, origin, arguments, where)
        if origin is dict:
            _require(type(value) is dict, value, dict, where)
            return {k: self.value(each, arguments[1], _at(where, k)) for k, each in value.items()}
        if is_typeddict(kind):
            return self.typed_dict(value, kind, where)
        if dataclasses.is_dataclass(kind):
            return self.instance(value, kind, where)
        if kind is Any:
            return value
        if kind is float and type(value) is int:
            return float(value)
        return _require(type(value) is kind, value, kind, where)

    def annotated(self, value: Any, arguments: tuple[Any, ...], where: str) -> Any:
        value = self.value(value, arguments[0], where)
        for check in arguments[1:]:
            if is_typeddict(check) or get_origin(check):
                value = self.value(value, check, where)
            elif callable(check):
                try:
                    check(value)
                except ValueError as error:
                    raise Invalid(f"{_name(where)} {error}, not {_shown(value)}") from None
        return value

    def one_of(self, value: Any, kinds: tuple[Any, ...], where: str) -> Any:
        problems = []
        for kind in kinds:
            try:
                return self.value(value, kind, where)
            except Invalid as problem:
                if kind is not NoneType:
                    problems.append(problem)
        raise problems[-1]

    def sequence(self, value: Any, origin: Any, arguments: tuple[Any, ...], where: str) -> Any:
        _require(type(value) in (list, tuple), value, list, where)
        if origin is list or arguments[-1] is Ellipsis:
            kinds = arguments[:1] * len(value)
        elif len(kinds := arguments) != len(value):
            raise Invalid(f"{_name(where)} must hold {len(kinds)} values, not {len(value)}")
        pairs = enumerate(zip(value, kinds, strict=True))
        return origin([self.value(each, kind, f"{where}[{n}]") for n, (each, kind) in pairs])

    def typed_dict(self, value: Any, kind: Any, where: str) -> dict[str, Any]:
        _require(type(value) is dict, value, dict, where)
        _require_fields(kind.__required_keys__ - value.keys(), where)
        return {**value, **self.fields(value, kind, where)}

    def instance(self, value: Any, kind: Any, where: str) -> Any:
        _require(type(value) is dict, value, dict, where)
        fields = {field.name: field for field in dataclasses.fields(kind)}
        for name in value.keys() - fields.keys():
            raise Invalid(f"{_at(where, name)} is not known")
        needed = {name for name, field in fields.items() if _is_required(field)}
        _require_fields(needed - value.keys(), where)
        return kind(**self.fields(value, kind, where))

    def fields(self, value: dict[str, Any], kind: Any, where: str) -> dict[str, Any]:
        """The checked values of all fields that `kind` declares."""
        hints = _hints(kind, tuple(self.names.items()))
        return {
            name: self.value(value[name], hint, _at(where, name))
            for name, hint in hints.items()
            if name in value
        }


@functools.cache
def _hints(kind: Any, names: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    """Types of the fields; found once, which takes longer than all the rest."""
    return get_type_hints(kind, localns=dict(names), include_extras=True)


def _is_required(field: dataclasses.Field[Any]) -> bool:
    missing = dataclasses.MISSING
    return field.default is missing and field.default_factory is missing


def _require_fields(absent: set[str], where: str) -> None:
    if absent:
        raise Invalid(f"{_at(where, min(absent))} is missing")


def _require(holds: bool, value: Any, kind: Any, where: str) -> Any:
    if not holds:
        wanted = " or ".join(map(repr, get_args(kind))) or _WORDS.get(kind, str(kind))
        raise Invalid(f"{_name(where)} must be {wanted}, not {_shown(value)}")
    return value


_WORDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
    NoneType: "null",
}


def _at(where: str, name: str) -> str:
    return f"{where}.{shortened(name)}" if where else shortened(name)


def _name(where: str) -> str:
    return where or "it"


def _shown(value: Any) -> str:
    if type(value) in (list, dict):
        return _WORDS[type(value)]
    return shortened("null" if value is None else repr(value))


def _int(text: str, largest: int) -> int:
    if len(text) > len(str(-largest)) or abs(value := int(text)) > largest:
        raise Invalid(f"it holds the number {shortened(text)}")
    return value


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise Invalid(f"it holds the number {shortened(text)}")
    return value


def _contents(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Invalid(f"it names {shortened(twice)} twice")
    return values
