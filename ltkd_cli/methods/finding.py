"""Finding a method by its name on the command line, which is the name of its file."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

from ..errors import MethodError, command
from .contract import Method

SHARED = frozenset({"contract", "etf", "finding", "losses", "options", "projector"})
"""Files of this folder that are no methods."""


def all_names() -> list[str]:
    """Names of every method, in alphabetical order; imports none of them."""
    from .. import methods

    found = {module.name for module in pkgutil.iter_modules(methods.__path__)} - SHARED
    return sorted(map(_command_line_name, found))


def find(name: str) -> type[Method]:
    """The class of a method by its command-line name; MethodError with the list otherwise."""
    if name not in all_names():
        raise MethodError(
            f"There is no method {name!r}; there are {', '.join(all_names())}.", command("methods")
        )
    module = importlib.import_module(f"ltkd_cli.methods.{name.replace('-', '_')}")
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Method)
        and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise MethodError(
            f"The file of method {name} must hold exactly one Method class, not {len(found)}.",
            f"edit {module.__file__}",
        )
    return found[0]


def name_of(method: type[Method]) -> str:
    """Command-line name of a method class."""
    return _command_line_name(method.__module__.rpartition(".")[2])


def source_of(method: type[Method]) -> str:
    """The `Source:` paragraph of a method's docstring, on one line."""
    text = inspect.cleandoc(method.__doc__ or "")
    _, found, rest = text.partition("Source:")
    return " ".join(rest.split("\n\n")[0].split()) if found else ""


def _command_line_name(module: str) -> str:
    return module.replace("_", "-")
