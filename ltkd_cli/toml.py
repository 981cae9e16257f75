"""Settings as TOML: read with tomllib, written with tomli-w."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

import tomli_w

from .errors import UsageError, look_at, to_utf8
from .files import read_regular

MAX_BYTES = 2**20
"""Of a file of settings; one of a run has a thousandth of it."""


def read(path: Path) -> dict[str, Any]:
    """The values in a TOML file; UsageError where it cannot be read or is no TOML."""
    try:
        return tomllib.loads(read_regular(path, MAX_BYTES).decode("utf-8-sig"))
    except OSError as error:
        inside = path / "config.toml"
        hint = f"--config {quote(str(inside))}" if path.is_dir() else look_at(path)
        raise UsageError(f"{path} cannot be read: {error.strerror}.", hint) from error
    except UnicodeDecodeError:
        raise UsageError(
            f"{path} is not TOML: it is not UTF-8, but perhaps Latin-1.", to_utf8(path)
        ) from None
    except RecursionError:
        raise UsageError(f"{path} is not TOML: it is nested too deeply.", _FORM) from None
    except ValueError as error:  # TOMLDecodeError, and whole numbers of too many digits
        raise UsageError(f"{path} is not TOML: {error}.", _FORM) from None


_FORM = 'one option on each line, as: epochs = 60, or: method = "bkd"'


def written(values: Mapping[str, Any]) -> str:
    """TOML of text, numbers, truth values, lists and tables of these.

    ValueError for text that no TOML can hold: half a surrogate pair, as in the name of a file
    that is not UTF-8. TypeError for values of other types.
    """
    text = tomli_w.dumps(values)
    text.encode()  # UnicodeEncodeError is a ValueError
    return text
