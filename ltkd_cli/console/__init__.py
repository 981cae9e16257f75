"""Everything that a person sees: sentences, tables, progress, plots. rich and matplotlib live here.

Results go to stdout, everything else to stderr. This file loads no PyTorch, nor do `runs` and
`methods`.
"""

from .progress import follow, follow_students
from .terminal import decoding, document, follows, note, result, warn

__all__ = [
    "decoding",
    "document",
    "follow",
    "follow_students",
    "follows",
    "note",
    "result",
    "warn",
]
