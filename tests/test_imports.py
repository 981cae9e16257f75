"""Who may import whom: downwards only, so that a layer can be understood without those above."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ltkd_cli"

LAYERS = [
    {"errors", "rng", "files", "splits", "outputs", "__init__"},
    {"records", "distributed"},
    {"runs", "events", "devices", "toml"},
    {"data"},
    {"metrics", "views"},
    {"methods", "cache", "models"},
    {"inference"},
    {"training"},
    {"rebalancing"},
    {"commands"},
    {"console"},
    {"cli"},
    {"__main__"},
]
"""Lowest first. A module imports from its own layer's folder and from layers below."""

THIRD_PARTY = {
    "typer": {"cli"},
    "rich": {"console"},
    "h5py": {"cache"},
    "matplotlib": {"console"},
}


def layer_of(name):
    return next(depth for depth, names in enumerate(LAYERS) if name in names)


def imports(path):
    """(top-level module, names) of every import in a file; ours as their part of the package."""
    inside = path.relative_to(PACKAGE).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (("", alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if not node.level:
                yield "", (node.module or "").split(".")[0]
                continue
            base = inside[: len(inside) - node.level]
            full = [*base, *(node.module or "").split(".")] if node.module else list(base)
            parts = [full[0]] if full else [alias.name for alias in node.names]
            yield from (("ltkd", part) for part in parts)


FILES = sorted(PACKAGE.rglob("*.py"))


def part_of(path):
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_only_from_below(path):
    own = part_of(path)
    for origin, part in imports(path):
        if origin == "ltkd" and part not in (own, "__version__"):
            assert layer_of(part) < layer_of(own), f"{own} imports {part}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_each_foreign_library_has_one_place(path):
    for origin, part in imports(path):
        if not origin and part in THIRD_PARTY:
            assert part_of(path) in THIRD_PARTY[part], f"{path} imports {part}"
