"""Help, versions and usage errors: at once, in words, with the next command."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from run_examples import create

import ltkd_cli
from ltkd_cli import __version__
from ltkd_cli.cli import main
from ltkd_cli.cli.app import run
from ltkd_cli.training.recipe import PRESETS, Recipe

LIGHT = """
import sys
from ltkd_cli.cli.app import run
codes = [run(line.split()) for line in sys.argv[1:]]
print("codes", codes, "heavy", [name for name in ("torch", "numpy", "h5py") if name in sys.modules])
"""


def test_help_version_lists_and_usage_errors_import_no_torch(story):
    helps = ["--version", "--help", "distill --help", "cache --help", "runs", "methods"]
    errors = [
        *("", "nonsense", "teach --nonsense", "teach --epochs many", "teach --seed -1"),
        *("teach --milestones nonsense", "distill --resume 1 --seed 2", "teach --views 3"),
    ]
    command = [sys.executable, "-c", LIGHT, *helps, *errors]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    codes = [0] * len(helps) + [2] * len(errors)
    assert said.stdout.splitlines()[-1] == f"codes {codes} heavy []"


def test_the_version_is_the_package_s(ltkd):
    assert ltkd("--version").out == f"ltkd {__version__}\n"


@pytest.mark.parametrize("command", [(), ("cache",)])
def test_without_a_command_the_help_comes_once(ltkd, command):
    said = ltkd(*command)
    assert said.code == 2
    assert (said.out + said.err).count("Usage: ltkd") == 1


@pytest.mark.parametrize("command", ["", "teach", "distill", "eval", "cache", "cache verify"])
def test_help_shows_no_value_for_what_takes_none(ltkd, command):
    said = ltkd(*command.split(), "--help")
    assert (said.code, "--help" in said.out, "<bool>" in said.out) == (0, True, False)


@pytest.mark.parametrize(
    ("command", "problem", "hint"),
    [
        (("nonsense",), "No such command 'nonsense'", "ltkd --help"),
        (("teach", "--nonsense"), "No such option: --nonsense", "ltkd teach --help"),
        (("teach", "--epochs", "many"), "'--epochs'", "ltkd teach --help"),
        (("teach", "--epochs"), "'--epochs' requires an argument", "ltkd teach --help"),
        (("distill", "stray"), "stray", "ltkd distill --help"),
        (("cache", "nonsense"), "No such command 'nonsense'", "ltkd cache --help"),
    ],
)
def test_a_usage_error_names_what_is_wrong_and_where_the_help_is(ltkd, command, problem, hint):
    said = ltkd(*command)
    first, second = said.err.splitlines()
    assert said.code == 2
    assert first.startswith("error: ")
    assert problem in first
    assert second == f"try: {hint}"


@pytest.mark.parametrize("command", ["teach", "distill"])
def test_the_help_shows_every_field_of_a_recipe_with_the_values_of_the_presets(
    ltkd, command, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "400")
    text = ltkd(command, "--help").out
    for name in Recipe.__dataclass_fields__:
        refused = command == "distill" and name in ("mixup", "cutmix")
        assert (f"--{name.replace('_', '-')} " in text) is not refused
    others = {name: recipe.epochs for name, recipe in PRESETS.items() if recipe.epochs != 200}
    assert "200; " + ", ".join(f"{name} {epochs}" for name, epochs in others.items()) in text


@pytest.mark.parametrize("command", ["teach", "export-logits", "distill", "eval", "data", "runs"])
def test_the_help_of_a_command_is_not_cut_off_on_a_narrow_terminal(ltkd, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    said = ltkd(command, "--help")
    assert said.code == 0
    assert "…" not in said.out
    assert max(map(len, said.out.splitlines())) <= 80


def test_letters_that_a_terminal_lacks_are_no_error(empty, monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, "ascii"))
    monkeypatch.setattr(sys, "argv", ["ltkd", "data"])
    with pytest.raises(SystemExit) as ended:
        main()
    sys.stdout.flush()
    assert ended.value.code == 0
    assert b"0 ????" in written.getvalue()


def test_a_comment_that_zsh_passes_on_is_not_read(empty, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["ltkd", "runs", "#", "see", "what", "there", "is"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code, sys.argv) == (0, ["ltkd", "runs"])
    assert "error" not in capsys.readouterr().err


def test_remarks_on_commands_hold_nothing_that_zsh_would_obey():
    package = Path(ltkd_cli.__file__).parent
    lines = (line for path in package.rglob("*.py") for line in path.read_text().splitlines())
    remarks = [
        text
        for line in lines
        if re.search(r"\bremark ?=", line)
        for text in re.findall(r'(?:remark ?=|else) ?f?"([^"]+)"', line)
    ]
    assert len(remarks) > 20
    assert "whose students do, too" in remarks
    assert [one for one in remarks if re.search(r"[;&|<>()*?\[\]'`$!~=]", one)] == []


def test_a_full_disk_behind_the_output_is_an_error():
    command = [sys.executable, "-m", "ltkd_cli", "methods"]
    with Path("/dev/full").open("w") as full:
        said = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert said.returncode == 1
    assert said.stderr.startswith("error: The output cannot be written: No space left")


def test_a_reader_that_is_gone_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "ltkd_cli", "methods"]
    said = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (said.returncode, said.stderr) == (0, "")


@pytest.mark.parametrize("more", [(), ("--config", "mine.toml")], ids=["alone", "--config"])
def test_an_environment_variable_names_the_folder_of_all_runs(ltkd, empty, monkeypatch, more):
    create(empty / "elsewhere", name="mine")
    create(empty / "runs", name="other")
    Path("mine.toml").write_text("json = true\n")
    monkeypatch.setenv("LTKD_RUNS", "elsewhere")
    said = ltkd("runs", "list", *(more or ("--json",)))
    assert [each["name"] for each in json.loads(said.out)] == ["mine"]
    assert [each["name"] for each in json.loads(ltkd("runs", "runs", "--json").out)] == ["other"]


def test_errors_have_no_colours_where_nobody_wants_them(monkeypatch):
    for wanted in (True, False):
        terminal = io.StringIO()
        terminal.isatty = lambda: True
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setenv("NO_COLOR", "" if wanted else "1")
        assert run(["eval", "99"]) == 1
        assert ("\x1b[1;31merror:" in terminal.getvalue()) == wanted
