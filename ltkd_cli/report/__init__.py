"""Results as tables for people and as documents for programs."""

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

__all__ = [
    "data_document",
    "methods_document",
    "print_cache",
    "print_data",
    "print_method",
    "print_methods",
    "print_next",
    "print_run",
    "print_runs",
    "print_scores",
    "scores_document",
]
