"""Who may import whom: downwards only, so that a layer can be understood without those above."""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "ltkd_cli"

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
    """(`ltkd` or nothing, top-level module) of every import in a file of the package."""
    return imported(path.read_text(), [PACKAGE.name, *path.relative_to(PACKAGE).parts[:-1]])


def imported(text, folders=()):
    """The same of the text of a file in those folders; of ours the part of the package."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = folders[: len(folders) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            found = [f"{module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in found:
            first, *rest = name.split(".")
            yield ("ltkd", [*rest, "__init__"][0]) if first == PACKAGE.name else ("", first)


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


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("from ..console.terminal import note", "console"),
        ("from .. import console", "console"),
        ("from . import recipe", "training"),
        ("import ltkd_cli.console.terminal", "console"),
        ("from ltkd_cli.console import note", "console"),
        ("from ltkd_cli import console", "console"),
        ("import ltkd_cli", "__init__"),
    ],
)
def test_an_import_is_known_however_it_is_written(text, part):
    assert list(imported(text, [PACKAGE.name, "training"])) == [("ltkd", part)]
    assert list(imported("import typer.core")) == [("", "typer")]


@pytest.mark.parametrize("path", sorted(TESTS.rglob("*.py")), ids=lambda path: path.name)
def test_what_tests_share_is_not_imported_from_a_test(path):
    assert not [part for _, part in imported(path.read_text()) if part.startswith("test_")]
