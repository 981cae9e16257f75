"""How the decoded images of a set are kept, in words."""

from __future__ import annotations

from ..events import ImagesKept
from ..files import in_bytes


def kept(event: ImagesKept) -> str:
    """What was chosen, how large it is and why."""
    return f"{event.image_set}: decoded images {place(event)} ({reason(event)})"


def place(event: ImagesKept) -> str:
    """Where the images are, and how large."""
    size = f"{'' if event.exact else 'about '}{in_bytes(event.size)}"
    short = f", short side at most {event.short_side} pixels" if event.short_side else ""
    how = f"stored in {event.folder}" if event.stored else "made from files whenever needed"
    return f"{how}, {size}{short}"


def reason(event: ImagesKept) -> str:
    """Why so."""
    match event.why:
        case "asked":
            return f"--store {'always' if event.stored else 'never'}"
        case "limit":
            return f"--store auto keeps up to {in_bytes(event.limit)}"
        case "room":
            return f"--store auto: no more than {in_bytes(event.free)} are free in {event.folder}"
        case "there":
            return "--store auto: decoded before"
        case _:
            return f"--store auto: no more than {in_bytes(event.limit)} or half of the free space"
