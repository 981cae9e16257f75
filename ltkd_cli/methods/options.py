"""Options of a method: read from its constructor, given as `--set name=value`."""

from __future__ import annotations

import inspect
import math
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import MethodError, command
from ..records import Invalid, checked
from .contract import Method
from .finding import name_of


@dataclass(frozen=True)
class Option:
    """One option of a method, as `--set name=value` and `ltkd methods` know it."""

    name: str
    kind: type
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    """The texts that it takes; empty where any will do."""

    def parse(self, text: str, method: str) -> Any:
        """The value that `text` names; MethodError where it is not of the option's type."""
        try:
            value = _PARSERS[self.kind](text)
            if self.choices and value not in self.choices:
                raise ValueError(text)
        except (ValueError, KeyError):
            wanted = " or ".join(self.choices) or _KIND_WORDS[self.kind]
            raise MethodError(
                f"Option {self.name} of {method} takes {wanted}, and {text!r} is not one.",
                f"--set {self.name}={self.default}",
            ) from None
        return value


def options(method: type[Method]) -> list[Option]:
    """The keyword-only, `Annotated` parameters of a method's constructor, in order.

    One that takes some texts only is annotated with their `Literal`.
    """
    hints = typing.get_type_hints(method.__init__, include_extras=True)
    found = []
    for name, parameter in inspect.signature(method.__init__).parameters.items():
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            continue
        kind, text = typing.get_args(hints[name])[:2]
        choices = typing.get_args(kind)
        found.append(Option(name, str if choices else kind, parameter.default, text, choices))
    return found


def parse_options(method: type[Method], settings: list[str]) -> dict[str, Any]:
    """Values for `NAME=VALUE` texts, checked against the method's options; all defaults filled."""
    known = {option.name: option for option in options(method)}
    values = {name: option.default for name, option in known.items()}
    for setting in settings:
        name, equals, text = setting.partition("=")
        name = name.strip().replace("-", "_")
        if not equals:
            raise MethodError(
                f"--set takes NAME=VALUE, not {setting!r}.", command("methods", name_of(method))
            )
        if name not in known:
            listed = ", ".join(known) or "none"
            raise MethodError(
                f"Method {name_of(method)} has no option {name!r}; its options: {listed}.",
                command("methods", name_of(method)),
            )
        values[name] = known[name].parse(text.strip(), name_of(method))
    return values


def check_options(method: type[Method], values: dict[str, Any]) -> None:
    """Raises MethodError where `values`, from a file, are not options of the method."""
    known = {option.name: option.kind for option in options(method)}
    for name, value in values.items():
        try:
            checked(value, known[name], name)
        except (KeyError, Invalid):
            raise MethodError(
                f"Method {name_of(method)} has no option {name[:60]!r} that could be "
                f"{str(value)[:60]!r}.",
                command("methods", name_of(method)),
            ) from None


def _parse_bool(text: str) -> bool:
    return _BOOL_WORDS[text.lower()]


def _parse_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


_BOOL_WORDS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}


_PARSERS: dict[type, Callable[[str], Any]] = {
    float: _parse_float,
    int: int,
    bool: _parse_bool,
    str: str,
}


_KIND_WORDS = {float: "a number", int: "a whole number", bool: "true or false", str: "text"}
