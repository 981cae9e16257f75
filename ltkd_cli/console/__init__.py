"""Everything that a person sees: sentences, tables, progress, plots. rich and matplotlib live here.

Results go to stdout, everything else to stderr.
"""

from .doctor import examined_document, print_examined
from .listings import (
    data_document,
    methods_document,
    print_cache,
    print_data,
    print_method,
    print_methods,
    print_next,
    print_run,
    print_runs,
)
from .scores import print_scores, scores_document
from .terminal import caution, decoding, document, follow, note, result

__all__ = [
    "caution",
    "data_document",
    "decoding",
    "document",
    "examined_document",
    "follow",
    "methods_document",
    "note",
    "print_cache",
    "print_data",
    "print_examined",
    "print_method",
    "print_methods",
    "print_next",
    "print_run",
    "print_runs",
    "print_scores",
    "result",
    "scores_document",
]
