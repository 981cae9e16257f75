"""Making run folders, which appear whole or not at all."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from shlex import quote
from typing import Any, cast

from ..errors import RunError, command
from ..files import Locked, folder_locked, sync_folder
from .finding import all_runs
from .folder import Run
from .record import FORMAT, MAX_SEQUENCE, Record

MAX_NAME = 200
"""Bytes of the name of a run folder; file systems allow 255."""

SECONDS_OF_OTHERS = 60.0
"""For how long other processes may be busy with making their folders; each takes an instant."""

_UNFIT_ENDS = (".h5", ".hdf5", ".partial", ".json", ".jsonl", ".safetensors")
"""Of a run's name: a command that takes runs and files would take it for a file."""


def create(
    root: Path,
    kind: str,
    label: str,
    settings: dict[str, Any],
    name: str | None = None,
    **known: Any,
) -> Run:
    """A new run folder, numbered on from the last or called `name`; run.json holds `known`, too.

    RunError where the name is taken or is no name of a folder, or `root` cannot be written.
    """
    with creating(root, kind, label, settings, name, **known) as run:
        pass
    return run


@contextmanager
def creating(
    root: Path,
    kind: str,
    label: str,
    settings: dict[str, Any],
    name: str | None = None,
    **known: Any,
) -> Iterator[Run]:
    """The same with what the body writes into the folder, whose name appears at the end.

    Until then it is hidden, and its final name is not known. An error in the body, also a full
    disk (RunError), leaves nothing; what a kill leaves goes when the next run is made.
    """
    record = {
        "format": FORMAT,
        "kind": kind,
        "label": label,
        "status": "started",
        "created": datetime.now().astimezone().isoformat(timespec="milliseconds"),
        "command": ["ltkd", *sys.argv[1:]],
        "settings": settings,
        **known,
    }
    try:
        with _hidden_folder(root) as hidden:
            if name:
                check_name(root, name)
            run = Run(hidden, cast(Record, record))
            yield run
            with _alone_in(root):
                run.update(sequence=_next_sequence(root))
                path = _final_path(root, name, f"{kind}-{label}")
                hidden.rename(path)
            run.path = path
            sync_folder(root)
    except OSError as error:
        raise RunError(
            f"No run folder can be made in {root}: {error.strerror}.",
            f"ls -ld {quote(str(root))}, or choose another folder with --runs",
        ) from error


def check_name(root: Path, name: str) -> None:
    """Raises RunError where the name is taken in `root`, or cannot be the name of a run.

    Numbers and `last` mean other runs, a name that begins with a dash looks like an option,
    and one that ends like a file's looks like a file.
    """
    unfit = name.startswith((".", "-")) or name.isdecimal() or name == "last"
    unfit = unfit or name.endswith(_UNFIT_ENDS) or name != Path(name).name
    if unfit or not name.isprintable() or not 0 < len(os.fsencode(name)) <= MAX_NAME:
        raise RunError(f"{name!r} cannot be the name of a run folder.", "--name first-try")
    if name != name.strip():
        raise RunError(f"{name!r} begins or ends with a space.", f"--name {quote(name.strip())}")
    if os.path.lexists(root / name):
        raise RunError(
            f"There is {root / name} already, and runs are never overwritten.",
            command("runs", remark="then choose another --name, or none for the next number"),
        )


@contextmanager
def _hidden_folder(root: Path) -> Iterator[Path]:
    """A new folder in `root` that is locked while the body runs; it goes unless it was renamed."""
    root.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        with _alone_in(root):
            _remove_abandoned(root)
            hidden = root / f".{secrets.token_hex(8)}.new"
            hidden.mkdir()
            stack.callback(shutil.rmtree, hidden, ignore_errors=True)
            stack.enter_context(folder_locked(hidden))
        yield hidden


@contextmanager
def _alone_in(root: Path) -> Iterator[None]:
    """Keeps other processes from making run folders, so that no two take one name or number."""
    try:
        with folder_locked(root, SECONDS_OF_OTHERS):
            yield
    except Locked:
        raise RunError(
            f"Another process has been making a run in {root} for {SECONDS_OF_OTHERS:.0f} s.",
            "the same command again, once that process has ended",
        ) from None


def _remove_abandoned(root: Path) -> None:
    """Removes hidden folders whose makers were killed: nobody holds the lock on them."""
    for path in root.iterdir():
        if not re.fullmatch(r"\.[0-9a-f]{16}\.new", path.name) or path.is_symlink():
            continue
        with suppress(OSError, Locked), folder_locked(path) as sure:
            if sure:
                shutil.rmtree(path, ignore_errors=True)


def _final_path(root: Path, name: str | None, label: str) -> Path:
    if name:
        check_name(root, name)
        return root / name
    slug = re.sub(r"[^A-Za-z0-9_.+-]+", "-", label)[:100]
    return root / f"{_next_number(root):04d}-{slug}"


def _next_number(root: Path) -> int:
    # A name such as 2026-12-01 is a date.
    matches = (re.match(r"(\d{4,15})-(?!\d)", path.name) for path in root.iterdir())
    return max((int(match[1]) for match in matches if match), default=0) + 1


def _next_sequence(root: Path) -> int:
    before = max((run.record.get("sequence", 0) for run in all_runs(root)), default=0)
    return min(before + 1, MAX_SEQUENCE)
