"""Finding a step by its name in a policy, which is the name of its file."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from functools import cache

from . import steps
from .contract import BadArgument, Step, refuse


def all_names() -> list[str]:
    """Names of every step, in alphabetical order."""
    found = [module.name for module in pkgutil.iter_modules(steps.__path__)]
    return sorted(name.replace("_", "-") for name in found)


@cache
def find(name: str) -> type[Step]:
    """The class of a step by its name; KeyError where there is none."""
    if name not in all_names():
        raise KeyError(name)
    module = importlib.import_module(f"{steps.__name__}.{name.replace('-', '_')}")
    (found,) = (
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, Step)
        and value.__module__ == module.__name__
    )
    return found


def usages() -> list[str]:
    """How every step is typed."""
    return [find(name).usage for name in all_names()]


def read_step(text: str) -> Step:
    """The step that `NAME:ARGUMENT:...` describes; UsageError with the list of all otherwise."""
    name, *words = text.split(":")
    if name not in all_names():
        raise refuse(text, f"there is no step {name!r}", usages())
    step = find(name)
    try:
        return step.read(words)
    except BadArgument as error:
        raise refuse(text, f"{step.usage}: {error}", usages()) from None
