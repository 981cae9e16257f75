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
    return Listed(name, title, _needs(tree))


def _needs(tree: ast.Module) -> frozenset[str] | None:
    """The texts in the class attribute `needs`, which is a set of constants."""
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    for line in (line for node in classes for line in node.body):
        if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "needs":
            constants = (node for node in ast.walk(line.value) if isinstance(node, ast.Constant))
            return frozenset(str(constant.value) for constant in constants)
    bases = {ast.unparse(base) for node in classes for base in node.bases}
    return frozenset() if "Method" in bases else None
