"""Settings as TOML: read with tomllib, and written as flat scalars, lists and tables."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

from .errors import UsageError
from .files import read_regular

MAX_BYTES = 2**20
"""Of a file of settings; one of a run has a thousandth of it."""

_BARE = re.compile("[A-Za-z0-9_-]+")


def read(path: Path) -> dict[str, Any]:
    """The values in a TOML file; UsageError where it cannot be read or is no TOML."""
    try:
        return tomllib.loads(read_regular(path, MAX_BYTES).decode("utf-8-sig"))
    except OSError as error:
        inside = path / "config.toml"
        hint = f"--config {quote(str(inside))}" if path.is_dir() else f"ls -l {quote(str(path))}"
        raise UsageError(f"{path} cannot be read: {error.strerror}.", hint) from error
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not TOML: it is not UTF-8.", "iconv -t UTF-8") from None
    except RecursionError:
        raise UsageError(f"{path} is not TOML: it is nested too deeply.", _FORM) from None
    except ValueError as error:  # TOMLDecodeError, and whole numbers of too many digits
        raise UsageError(f"{path} is not TOML: {error}.", _FORM) from None


_FORM = 'one option on each line, as: epochs = 60, or: method = "bkd"'


def written(values: Mapping[str, Any]) -> str:
    """TOML of text, numbers, truth values, lists of these, and tables of these at the end.

    ValueError for text that no TOML can hold: half a surrogate pair, as in the name of a file
    that is not UTF-8. TypeError for values of other types.
    """
    flat = {name: value for name, value in values.items() if not isinstance(value, Mapping)}
    tables = {name: value for name, value in values.items() if isinstance(value, Mapping)}
    lines = [_line(name, value) for name, value in flat.items()]
    for name, table in tables.items():
        lines += ["", f"[{_key(name)}]", *(_line(key, value) for key, value in table.items())]
    return "".join(f"{line}\n" for line in lines)


def _line(name: str, value: Any) -> str:
    return f"{_key(name)} = {_value(value)}"


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    raise TypeError(f"{type(value).__name__} is not written as TOML")


def _text(text: str) -> str:
    """A basic string: JSON's escapes are TOML's, but for DEL, which JSON leaves as it is."""
    text.encode()  # UnicodeEncodeError is a ValueError
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
