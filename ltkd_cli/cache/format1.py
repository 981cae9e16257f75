"""Files of format 1, which have no trailer: HDF5 itself has to say what they hold."""

from __future__ import annotations

import json
import subprocess
import sys
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .layout import DATASETS

CHECKSUM = "attributes_crc"
"""Attribute with the checksum of all others but `complete`; the first files have none."""

PATIENCE = 60.0
"""Seconds in which HDF5 has to come to an end; it takes a tenth of one."""

PROBE = Path(__file__).with_name("probe.py")


def describe(path: Path) -> dict[str, Any]:
    """`attributes`, decoded, and `datasets` of an HDF5 file; ValueError says what is wrong.

    Of a file that may be of another format, or no cache at all, `attributes` are those that
    were found.
    """
    found = _asked(path)
    plain = found["attributes"]
    if not isinstance(plain.get("format"), int) or plain["format"] != 1:
        return found
    written = plain.pop(CHECKSUM, None)
    if written not in (None, checksum(plain)):
        raise ValueError("its attributes are not what was written")
    try:
        return {**found, "attributes": decode(plain)}
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError("its attributes are not those of a cache") from error


def decode(plain: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `attributes.encode`.

    Raises ValueError, TypeError or RecursionError where the JSON is broken.
    """
    nested = set(json.loads(plain.get("json", "[]")))
    return {
        name: json.loads(value) if name in nested else value
        for name, value in plain.items()
        if name != "json"
    }


def checksum(plain: Mapping[str, Any]) -> int:
    """CRC-32 of plain attributes, which stays as it is when the file becomes complete."""
    lasting = {name: value for name, value in plain.items() if name not in (CHECKSUM, "complete")}
    return zlib.crc32(json.dumps(lasting, sort_keys=True).encode())


def _asked(path: Path) -> dict[str, Any]:
    """What HDF5 says, in a process that may crash."""
    command = [sys.executable, "-P", str(PROBE), str(path.absolute()), *DATASETS]
    try:
        done = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        raise ValueError("HDF5 does not come to an end with it") from None
    if done.returncode:
        raise ValueError("HDF5 crashes when it reads it")
    found: dict[str, Any] = json.loads(done.stdout)
    if "error" in found:
        raise ValueError(f"HDF5 cannot read it ({found['error']})")
    return found
