"""Text from files on its way to the screen."""

import os

import pytest

from ltkd_cli.errors import printable


@pytest.mark.parametrize(
    "text", ["", "0007-distill-bkd-resnet20", "Füchse, 狐, \u200dकि, a\u00a0b"]
)
def test_what_can_be_shown_stays(text):
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\x9b31m", r"\x9b31m"),
        ("a\0b\x7f", r"a\x00b\x7f"),
        ("a\r\nb", r"a\x0d\x0ab"),
        (os.fsdecode(b"caf\xe9"), r"caf\xe9"),
        ("gpj\u202e.exe", r"gpj\u202e.exe"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_a_terminal_would_obey_or_cannot_show_is_escaped(text, shown):
    assert printable(text) == shown
    assert printable(shown) == shown


def test_line_ends_are_kept_where_they_are_wanted():
    assert printable("one\ntwo\x1b", keep="\n") == "one\ntwo\\x1b"
