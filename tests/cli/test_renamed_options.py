"""Old names of options: refused before anything is loaded, with the line to type now."""

import shlex

import pytest
from driving import refused
from typer.main import get_command

from ltkd_cli.cli.app import app, run
from ltkd_cli.cli.renamed import RENAMED


@pytest.mark.parametrize(("command", "old"), RENAMED)
def test_an_old_name_is_refused_with_the_new_one(ltkd, empty, command, old):
    new = RENAMED[command, old]
    for typed, mended in (([old, "3"], [new, "3"]), ([f"{old}=3"], [f"{new}=3"])):
        said = ltkd(command, *typed, "--runs", "other place")
        whole = shlex.join(["ltkd", command, *mended, "--runs", "other place"])
        assert refused(said, 2, new, whole)
    assert not list(empty.iterdir())


@pytest.mark.parametrize(("command", "old"), RENAMED)
def test_the_new_name_exists_and_the_old_one_does_not(command, old):
    options = [name for p in get_command(app).commands[command].params for name in p.opts]
    assert RENAMED[command, old] in options
    assert old not in options


@pytest.mark.parametrize(("typed", "meant"), [("--epoch", "--epochs"), ("--job", "--jobs")])
def test_a_mistyped_option_comes_with_the_nearest(ltkd, empty, typed, meant):
    assert refused(ltkd("distill", typed, "3"), 2, meant, "ltkd distill --help")


def test_a_command_that_is_no_command_comes_with_the_nearest(capsys):
    assert run(["distil"]) == 2
    assert "distill" in capsys.readouterr().err
