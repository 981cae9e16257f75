"""The documentation says what the code does: generated parts are current, commands exist."""

import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from typer.main import get_command

from ltkd_cli import methods
from ltkd_cli.cli.app import app
from ltkd_cli.methods.finding import all_names, find
from ltkd_cli.methods.options import parse_options
from ltkd_cli.training.recipe import PRESETS

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
EXAMPLE = ROOT / "examples" / "add_a_method"
PAGES = [README, *sorted(ROOT.glob("docs/*.md")), EXAMPLE / "README.md"]

generate = runpy.run_path(str(ROOT / "docs" / "generate.py"))


def commands(group, path=("ltkd",)):
    """Every command that can be typed, without its arguments."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name))


def command_lines(page):
    """Every line of a code block that calls `ltkd`."""
    for token in MarkdownIt().parse(page.read_text()):
        if token.type in ("fence", "code_block"):
            yield from (line for line in token.content.splitlines() if line.startswith("ltkd "))


def parameters_of(line):
    """What typer makes of a command line; it raises for a command or an option it lacks."""
    command, (name, *arguments) = get_command(app), shlex.split(line, comments=True)
    while hasattr(command, "commands"):
        name, *arguments = arguments
        command = command.commands[name]
    return command.make_context(name, arguments).params


@pytest.fixture
def example_method(monkeypatch):
    """`similarity`, the method that the example adds."""
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(EXAMPLE)])
    yield
    sys.modules.pop("ltkd_cli.methods.similarity", None)


def test_generated_parts_are_what_the_code_says():
    stale = [path.name for path, text in generate["pages"]().items() if path.read_text() != text]
    assert stale == [], "run: make docs"


def test_a_page_without_markers_is_refused(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- methods:begin -->\n")
    with pytest.raises(SystemExit, match=r"page\.md needs a line <!-- methods:begin --> and"):
        generate["filled"](page, {"methods": "text"})


def test_only_what_is_between_the_markers_is_replaced(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- a:begin -->\nold\n<!-- a:end -->\nafter\n")
    wanted = "before\n<!-- a:begin -->\n\nnew\n\n<!-- a:end -->\nafter\n"
    assert generate["filled"](page, {"a": "new"}) == wanted


@pytest.mark.parametrize("name", all_names())
def test_every_method_has_a_section_with_its_definition_and_source(name):
    section = generate["section"](name, find(name))
    assert section.startswith(f"## {name}\n")
    assert "```text" in section
    assert "Source: " in section


@pytest.mark.parametrize("note", sorted(generate["NOTES"].iterdir()), ids=lambda note: note.stem)
def test_every_note_speaks_of_the_sources_recipe_and_of_choices(note):
    headings = re.findall("^### (.*)", note.read_text(), re.MULTILINE)
    assert headings == ["Recipe of the source", "Where this implementation had to choose"]


def test_krdistill_is_called_a_reconstruction_wherever_it_is_listed():
    table = (ROOT / "docs" / "methods.md").read_text().splitlines()
    rows = [line for line in table if line.startswith("| [krdistill]")]
    assert len(rows) == 1
    assert "reconstructed" in rows[0]
    section = generate["section"]("krdistill", find("krdistill"))
    assert "`krdistill` is a reconstruction from the abstract." in section


def test_every_dataset_of_the_format_is_in_the_table():
    table = generate["datasets_table"]()
    names = re.findall(r"^\| `(\w+)`", table, re.MULTILINE)
    assert tuple(names) == generate["layout"].DATASETS


@pytest.mark.parametrize("command", list(commands(get_command(app))))
def test_every_command_is_in_the_readme(command):
    text = " ".join(README.read_text().split())
    assert re.search(rf"\b{command}\b", text)


@pytest.mark.parametrize(
    ("page", "line"),
    [(page, line) for page in PAGES for line in command_lines(page)],
    ids=lambda value: value.name if isinstance(value, Path) else value,
)
def test_every_command_line_is_one_that_ltkd_accepts(example_method, page, line):
    given = parameters_of(line)
    if "recipe_name" in given:
        parse_options(find(given["method"]), given["options"] or [])
        assert given["recipe_name"] in (None, *PRESETS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        assert target.startswith("https://") or (page.parent / target).exists(), target
