"""Images that cannot be read: telling a bad file from a machine that has run out of something."""

from __future__ import annotations

import errno
import shlex
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from PIL import Image

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


Cause = Literal["damaged", "withheld", "huge", "unscaled"]
"""Why an image is not there: broken bytes, an operating system that does not give them, more
pixels than Pillow decodes, or values of which nobody says where black and white lie."""

ADVICE: dict[Cause, str] = {
    "damaged": "replace or remove damaged files",
    "huge": "save images of too many pixels smaller",
    "unscaled": "save images of other depths with 8 or 16 bits a channel",
}
"""What to do; where bytes are withheld, it is about the file."""


class UnknownRange(ValueError):
    """Pixel values of which nobody says where black and white lie."""


@dataclass(frozen=True)
class Failure:
    """A file that gives no image, and what its reader said."""

    path: str
    reason: str
    cause: Cause = "damaged"

    @property
    def sound(self) -> bool:
        """Whether the file is a good image, but one that is refused here."""
        return self.cause in ("huge", "unscaled")


def failure(name: str, error: Exception) -> Failure:
    """The failure of one image; DataError where not the file but the machine is to blame."""
    number = error.errno if isinstance(error, OSError) else None
    out_of_memory = number == errno.ENOMEM or PILLOW_OUT_OF_MEMORY in str(error)
    if isinstance(error, MemoryError) or out_of_memory:
        raise DataError(f"There was not enough memory to read {name}.", "free -h") from error
    if isinstance(error, UnknownRange):
        return Failure(name, _reason(error), "unscaled")
    if isinstance(error, Image.DecompressionBombError):
        size, _, _ = _reason(error).partition(", could be")  # an attack, as Pillow goes on
        return Failure(name, size, "huge")
    if number in OUT_OF_FILES:
        raise DataError(
            f"{name} cannot be opened: this process or machine has too many open files.",
            "ulimit -n 4096",
        ) from error
    return Failure(name, _reason(error), "damaged" if number in FROM_BYTES else "withheld")


def unreadable(failures: Sequence[Failure], total: int) -> DataError:
    """The DataError that names the failures among `total` images; all are listed in a file."""
    report = store.cache_folder() / f"unreadable-{digest(repr(failures).encode())[:12]}.txt"
    store.write_text(report, "".join(f"{f.path}\t{f.reason}\n" for f in failures))
    names = name_some([failure.path for failure in failures])
    why = failures[0].reason if len(failures) == 1 else f"the first: {failures[0].reason}"
    return DataError(
        f"{len(failures):,} of {total:,} images {_what(failures)}: {names} ({why}).",
        f"{advised(failures)}; all of them, with the reasons, are in {report}",
    )


def one_unreadable(failed: Failure) -> DataError:
    """The DataError for an image that could not be read when it was needed."""
    what = "is sound, but cannot be used" if failed.sound else "cannot be read"
    return DataError(f"The image {failed.path} {what}: {failed.reason}.", advised([failed]))


def advised(failures: Sequence[Failure]) -> str:
    """What to do: only damaged files are replaced."""
    withheld = next((failed for failed in failures if failed.cause == "withheld"), None)
    if withheld is not None:
        return f"see why they cannot be opened (ls -l {shlex.quote(printable(withheld.path))})"
    return "; ".join(dict.fromkeys(ADVICE[failed.cause] for failed in failures))


def _what(failures: Sequence[Failure]) -> str:
    sound = all(failed.sound for failed in failures)
    return "cannot be used, although they are sound" if sound else "cannot be read"


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
