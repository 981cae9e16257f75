"""What a terminal shows: moving lines while it trains, tables that fit its width."""

import io
import re

import pytest
from driving import on_a_terminal
from rich.console import Console

from ltkd_cli.console import terminal as console


def test_a_training_shows_epoch_terms_speed_waiting_and_the_time_left(story):
    shown = on_a_terminal(80, "distill", "--model", "resnet8", "--epochs", "6")
    assert max(map(len, shown)) <= 80
    assert any(re.match(r"epoch \d+/6 ━.* \d+% \d+:\d\d", line) for line in shown)
    details = r"  label \d+\.\d+, distillation \d+\.\d+, [\d,]+ images/s, waiting \d+%"
    assert any(re.match(details, line) for line in shown)


@pytest.mark.parametrize("width", [80, 120, 200])
@pytest.mark.parametrize("command", [("eval", "1", "2"), ("runs",), ("methods",), ("data",)])
def test_what_is_printed_fits_the_terminal_without_cutting_names_or_numbers(
    ltkd, story, monkeypatch, width, command
):
    shown = io.StringIO()
    terminal = Console(file=shown, force_terminal=True, width=width, color_system=None)
    monkeypatch.setattr(console, "STDOUT", terminal)
    assert ltkd(*command).code == 0
    lines = shown.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert not any("…" in line for line in lines)


@pytest.mark.parametrize(("width", "tables"), [(80, 2), (200, 1)])
def test_scores_take_two_tables_where_one_is_too_wide(ltkd, story, monkeypatch, width, tables):
    shown = io.StringIO()
    terminal = Console(file=shown, force_terminal=True, width=width, color_system=None)
    monkeypatch.setattr(console, "STDOUT", terminal)
    ltkd("eval", "1", "2")
    rows = [line.split()[0] for line in shown.getvalue().splitlines() if line.startswith("000")]
    assert rows == ["0001-teach-ce-resnet8", "0002-distill-bkd-resnet8"] * tables
