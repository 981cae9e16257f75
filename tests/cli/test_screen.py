"""What a terminal shows: moving lines while it trains, tables that fit its width."""

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest
from rich.console import Console

from ltkd_cli.console import terminal as console

STEERING = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def on_a_terminal(width, *arguments):
    """All that `ltkd` writes to a terminal of that many columns, line by line."""
    own, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color"}
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "ltkd_cli", *arguments]
    process = subprocess.Popen(command, stdin=other, stdout=other, stderr=other, env=environment)
    os.close(other)
    shown = b""
    while True:
        try:
            part = os.read(own, 65536)
        except OSError:  # the terminal has no other side any more
            break
        if not part:
            break
        shown += part
    os.close(own)
    assert process.wait() == 0
    return STEERING.sub("", shown.decode()).replace("\r", "\n").splitlines()


def test_a_training_shows_epoch_terms_speed_waiting_and_the_time_left(story):
    shown = on_a_terminal(80, "distill", "--model", "resnet8", "--epochs", "12")
    assert max(map(len, shown)) <= 80
    assert any(re.match(r"epoch \d+/12 ━.* \d+% \d+:\d\d", line) for line in shown)
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
