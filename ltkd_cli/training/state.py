"""Training state in a file, from which a training goes on bit for bit.

The file is one line, `ltkd-state-1 SHA256 RUN`, and what torch.save wrote. The checksum is that
of everything else: the words of the line before and behind it, and all that follows. RUN is the
identity of the run that the state belongs to.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import warnings
import zipfile
from pathlib import Path
from shlex import quote

import torch

from ..errors import CheckpointError
from ..events import Warned
from ..files import read_regular, replacing
from .loop import Training

_KIND = b"ltkd-state-1"
_LINE = 256
"""Bytes within which the first line ends."""

_ZIP = b"PK\x03\x04"
"""How files of version 0.1 begin, which are torch.save's alone."""

_COUNTS = ("epoch", "batch")

_UNREADABLE = (
    pickle.UnpicklingError,
    RuntimeError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    EOFError,
    AssertionError,
)
"""What torch and load_state_dict raise for contents that are no state of this training."""


def save_state(training: Training, path: Path, run: str = "") -> None:
    """Writes the training state so that a kill at any moment leaves the old or the new one.

    `run` is the identity of the run that alone may go on from it.
    """
    state = io.BytesIO()  # where torch writes into a file, a full disk is an error of its own kind
    torch.save(training.snapshot(), state)
    content, owner = state.getbuffer(), run.encode()
    with replacing(path) as file:
        file.write(b" ".join([_KIND, _checksum(owner, content), owner]) + b"\n")
        file.write(content)


def load_state(training: Training, path: Path, run: str = "") -> Warned | None:
    """Takes up the state in `path`; a warning where version 0.1 wrote it, without a checksum.

    CheckpointError where a byte is not as it was written, where the state is another run's, or
    does not fit the training. Nothing in the file is executed.
    """
    content, warned = _verified(path, run)
    try:
        with warnings.catch_warnings(action="ignore"):  # torch's advice on files of other kinds
            snapshot = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
        if any(type(snapshot[name]) is not int or snapshot[name] < 0 for name in _COUNTS):
            raise ValueError
        training.restore(snapshot)
    except torch.OutOfMemoryError:
        raise
    except _UNREADABLE as error:
        raise _refused(path, "is not a state of this training") from error
    return warned


def _verified(path: Path, run: str) -> tuple[bytes, Warned | None]:
    """What torch.save wrote, compared with its checksum; and what could not be compared."""
    try:
        data = read_regular(path)
    except OSError as error:
        raise _refused(path, f"cannot be read: {error.strerror}") from error
    if data.startswith(_ZIP):
        _check_zip(path, data)
        return data, Warned(
            f"{path} is of version 0.1, without a checksum of the whole; damage to it may have "
            "gone unnoticed."
        )
    end = data.find(b"\n", 0, _LINE)
    kind, _, rest = data[: max(end, 0)].partition(b" ")
    checksum, _, owner = rest.partition(b" ")
    content = data[end + 1 :]
    if kind != _KIND or checksum != _checksum(owner, content):
        raise _refused(path, "is damaged, or is no training state")
    if owner != run.encode():
        raise _refused(path, "belongs to another run")
    return content, None


def _checksum(owner: bytes, content: bytes | memoryview) -> bytes:
    digest = hashlib.sha256(owner + b"\n")
    digest.update(content)
    return digest.hexdigest().encode()


def _check_zip(path: Path, data: bytes) -> None:
    """The checksums that a zip archive has of its parts, which torch does not look at."""
    try:
        damaged = zipfile.ZipFile(io.BytesIO(data)).testzip() is not None
    except (zipfile.BadZipFile, *_UNREADABLE):
        damaged = True
    if damaged:
        raise _refused(path, "is damaged, or is no training state")


def _refused(path: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"The training state {path} cannot be continued: it {why}. Without it, the run begins with "
        "its first epoch again.",
        f"rm -- {quote(str(path))}",
    )
