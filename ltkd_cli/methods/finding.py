"""Finding a method by its name on the command line, which is the name of its file."""

from __future__ import annotations

import importlib
import inspect

from ..errors import MethodError, command
from .contract import Method
from .listing import all_names as all_names


def find(name: str) -> type[Method]:
    """The class of a method by its command-line name; MethodError with the list otherwise."""
    if name not in all_names():
        raise MethodError(
            f"There is no method {name!r}; there are {', '.join(all_names())}.",
            command("methods"),
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
    return method.__module__.rpartition(".")[2].replace("_", "-")


def source_of(method: type[Method]) -> str:
    """The `Source:` paragraph of a method's docstring, on one line."""
    text = inspect.cleandoc(method.__doc__ or "")
    _, found, rest = text.partition("Source:")
    return " ".join(rest.split("\n\n")[0].split()) if found else ""
