"""Images that cannot be read: telling a bad file from a machine that has run out of something."""

from __future__ import annotations

import errno
import shlex
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import DataError, printable
from . import store
from .imageset import digest

NAMED_FILES = 10
"""Files named in a message; a sentence with thousands of paths helps nobody."""

OUT_OF_FILES = (errno.EMFILE, errno.ENFILE)

FROM_BYTES = (None, errno.EINVAL, errno.EOVERFLOW)
"""Numbers of the OSErrors that a decoder meets in broken bytes: none, or a place out of range."""

PILLOW_OUT_OF_MEMORY = "out of memory"
"""In the OSError without a number that Pillow's decoders raise for it."""


@dataclass(frozen=True)
class Failure:
    """A file that is no readable image, and what its reader said."""

    path: str
    reason: str
    damaged: bool = True
    """Whether the bytes are to blame; else the operating system did not give them."""


def failure(name: str, error: Exception) -> Failure:
    """The failure of one image; DataError where not the file but the machine is to blame."""
    if isinstance(error, MemoryError) or PILLOW_OUT_OF_MEMORY in str(error):
        raise DataError(
            f"There was not enough memory to read {name}.", "free -h, and end what needs it"
        ) from error
    number = error.errno if isinstance(error, OSError) else None
    if number in OUT_OF_FILES:
        raise DataError(
            f"{name} cannot be opened: this process or machine has too many open files.",
            "ulimit -n 4096",
        ) from error
    if number == errno.ENOMEM:
        raise DataError(f"There was not enough memory to read {name}.", "free -h") from error
    return Failure(name, _reason(error), damaged=number in FROM_BYTES)


def unreadable(failures: Sequence[Failure], total: int) -> DataError:
    """The DataError that names the failures among `total` images; all are listed in a file."""
    report = store.cache_folder() / f"unreadable-{digest(repr(failures).encode())[:12]}.txt"
    store.write_text(report, "".join(f"{f.path}\t{f.reason}\n" for f in failures))
    names = name_some([failure.path for failure in failures])
    why = failures[0].reason if len(failures) == 1 else f"the first: {failures[0].reason}"
    return DataError(
        f"{len(failures):,} of {total:,} images cannot be read: {names} ({why}).",
        f"{_advice(failures)}; all of them, with the reasons, are in {report}",
    )


def one_unreadable(failed: Failure) -> DataError:
    """The DataError for an image that could not be read when it was needed."""
    return DataError(f"The image {failed.path} cannot be read: {failed.reason}.", _advice([failed]))


def _advice(failures: Sequence[Failure]) -> str:
    """What to do: only damaged files are replaced."""
    if all(failed.damaged for failed in failures):
        return "replace or remove these files"
    first = next(failed for failed in failures if not failed.damaged)
    return f"see why they cannot be opened (ls -l {shlex.quote(printable(first.path))})"


def name_some(items: Sequence[str]) -> str:
    """The first names in a row, fit to be printed, and how many more there are."""
    more = len(items) - NAMED_FILES
    shown = ", ".join(printable(item) for item in items[:NAMED_FILES])
    return shown + (f" and {more} more" if more > 0 else "")


def is_control(letter: str) -> bool:
    """Whether a character is none: a control code, or a byte of a name that is not UTF-8."""
    return unicodedata.category(letter) in ("Cc", "Cs")


def _reason(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    words = " ".join(text.split())
    return printable(words) if words else type(error).__name__
