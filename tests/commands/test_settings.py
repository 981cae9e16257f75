"""Settings: one field, one option; what run.json keeps of them is what comes back."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from ltkd_cli.cli.app import app
from ltkd_cli.cli.fields import DATA
from ltkd_cli.commands.settings import Settings
from ltkd_cli.data import DataSpec
from ltkd_cli.training.recipe import PRESETS, Recipe

SETTINGS = Settings(
    data=DataSpec(imbalance=20),
    model="resnet8",
    method="bkd",
    recipe_name="quick",
    recipe=dataclasses.replace(PRESETS["quick"], milestones=(0.5, 0.75)),
    evaluate_every=6,
    options={"weight": 1.0},
    caches=("runs/0001-teach-ce-resnet8/cache-crop-16.h5",),
)

ARCHIVE = Path(__file__).parent / "archive"


def fields(kind):
    return [field.name for field in dataclasses.fields(kind)]


def test_settings_come_back_from_json_as_they_were():
    assert Settings.from_json(json.loads(json.dumps(SETTINGS.as_json()))) == SETTINGS


@pytest.mark.parametrize("command", ["teach", "distill"])
def test_settings_of_0_1_0_are_read(command):
    kept = json.loads((ARCHIVE / f"settings-{command}-0.1.0.json").read_text())
    read = json.loads(json.dumps(Settings.from_json(kept).as_json()))
    assert known_to(kept, read) == kept


def known_to(older, newer):
    """`newer` without the fields that `older` lacks, at any depth."""
    if not isinstance(older, dict):
        return newer
    return {name: known_to(older[name], newer[name]) for name in older}


def test_every_field_is_an_option_of_a_training_command():
    commands = get_command(app).commands
    given = {p.name for name in ("teach", "distill") for p in commands[name].params}
    nested = {"data", "recipe"}
    # By the caches, by the file of weights, and by torchrun.
    filled_in = {"view_seed", "weights_sha256", "processes"}
    assert set(fields(Settings)) - nested - filled_in <= given
    assert {*fields(DataSpec), *fields(Recipe)} <= given
    assert set(DATA) == set(fields(DataSpec))


def test_the_module_of_the_settings_loads_no_torch():
    code = "import ltkd_cli.commands.settings, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
