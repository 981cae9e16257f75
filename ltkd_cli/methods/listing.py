"""The methods there are, read from their files: nothing is imported, and PyTorch not loaded."""

from __future__ import annotations

import ast
import pkgutil
from dataclasses import dataclass
from importlib.machinery import FileFinder
from pathlib import Path

from .. import methods

SHARED = frozenset({"contract", "etf", "finding", "listing", "losses", "options", "projector"})
"""Files of this folder that are no methods."""


@dataclass(frozen=True)
class Listed:
    """A method as a list shows it."""

    name: str
    title: str
    """First line of the file's docstring, without its full stop."""
    needs: frozenset[str] | None
    """What it reads from a cache; None where its class inherits that."""
    mixes: bool | None
    """Whether it trains on mixtures of images; None where its class inherits that."""


def all_names() -> list[str]:
    """Names of every method on the command line, in alphabetical order."""
    return sorted(_files())


def listed() -> list[Listed]:
    """Every method, in alphabetical order."""
    return [_listed(name, file) for name, file in sorted(_files().items())]


def _files() -> dict[str, Path]:
    return {
        module.name.replace("_", "-"): Path(module.module_finder.path, f"{module.name}.py")
        for module in pkgutil.iter_modules(methods.__path__)
        if module.name not in SHARED and isinstance(module.module_finder, FileFinder)
    }


def _listed(name: str, file: Path) -> Listed:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    title = (ast.get_docstring(tree) or "").split("\n")[0].rstrip(".")
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    return Listed(name, title, _needs(classes), _mixes(classes))


def _needs(classes: list[ast.ClassDef]) -> frozenset[str] | None:
    """The texts in the class attribute `needs`, which is a set of constants."""
    value = _assigned(classes, "needs")
    if value is None:
        return frozenset() if _is_first(classes) else None
    constants = (node for node in ast.walk(value) if isinstance(node, ast.Constant))
    return frozenset(str(constant.value) for constant in constants)


def _mixes(classes: list[ast.ClassDef]) -> bool | None:
    """Whether the class attribute `mixtures` says anything."""
    value = _assigned(classes, "mixtures")
    if value is None:
        return False if _is_first(classes) else None
    return not (isinstance(value, ast.Constant) and not value.value)


def _assigned(classes: list[ast.ClassDef], name: str) -> ast.expr | None:
    """What a class attribute is set to."""
    for line in (line for node in classes for line in node.body):
        if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == name:
            return line.value
    return None


def _is_first(classes: list[ast.ClassDef]) -> bool:
    """Whether the class inherits from Method alone."""
    return "Method" in {ast.unparse(base) for node in classes for base in node.bases}
