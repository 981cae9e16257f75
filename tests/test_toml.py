"""TOML: what is written is read back as it was, and what is no TOML is refused with a sentence."""

import subprocess
import tomllib

import pytest

from ltkd_cli import toml
from ltkd_cli.errors import UsageError

VALUES = {
    "text": "résumé ✓ \N{GRINNING FACE}",
    "quotes": "a \"b\" \\c\\ 'd' #e",
    "control": "".join(map(chr, range(1, 32))) + "\x7f\x85\u2028",
    "empty": "",
    "whole": -(2**62),
    "numbers": [1e-05, 0.1, -3.5e300, 1e16, 0.0, -0.0, 7 / 15, 1.0],
    "truths": [True, False],
    "none": [],
    "mixed": ["a", 1, 0.5, True, ["nested"]],
    "with-hyphen": 1,
    "no bare key.": "x",
    "": "",
}


def test_what_is_written_is_read_back(tmp_path):
    values = {**VALUES, "set": {"weight": 1.0, "kind": "a=b", "on": True, "odd key": 3}}
    file = tmp_path / "settings.toml"
    file.write_text(toml.written(values), encoding="utf-8", newline="")
    assert toml.read(file) == values
    assert repr(toml.read(file)) == repr({**VALUES, "set": values["set"]})  # types and order, too


def test_tables_come_last_so_that_no_key_falls_into_one():
    assert tomllib.loads(toml.written({"set": {"a": 1}, "b": 2})) == {"set": {"a": 1}, "b": 2}


def test_what_no_toml_can_hold_is_not_written():
    with pytest.raises(ValueError, match="surrogates"):
        toml.written({"path": "caf\udce9"})
    with pytest.raises(TypeError, match="bytes"):
        toml.written({"path": b""})


ODD = [
    (b"epochs = ", "document"),
    (b"epochs 3", "line 1"),
    (b"\xff\xfe", "UTF-8"),
    (b"a = " + b"[" * 100_000, "nested"),
    (b"a = " + b"9" * 5000, "digits"),
    (b"a = 1\na = 2\n", "overwrite"),
    (b"#" * (toml.MAX_BYTES + 1), "bytes"),
]


@pytest.mark.parametrize(("text", "named"), ODD, ids=[named for _, named in ODD])
def test_what_is_no_toml_is_refused(tmp_path, text, named):
    file = tmp_path / "odd.toml"
    file.write_bytes(text)
    with pytest.raises(UsageError, match=named) as caught:
        toml.read(file)
    assert str(file) in caught.value.problem
    assert caught.value.hint


def test_the_hint_for_settings_in_latin_1_mends_them(tmp_path):
    file = tmp_path / "a b;id.toml"
    file.write_text('data = "café"', encoding="latin1")
    with pytest.raises(UsageError, match="UTF-8") as caught:
        toml.read(file)
    subprocess.run(caught.value.hint, shell=True, check=True, stdin=subprocess.DEVNULL)
    assert toml.read(file) == {"data": "café"}


def test_a_byte_order_mark_does_not_matter(tmp_path):
    (tmp_path / "a.toml").write_bytes(b"\xef\xbb\xbfepochs = 3\r\n")
    assert toml.read(tmp_path / "a.toml") == {"epochs": 3}
