"""The command line: options, one call, one print. Nothing heavy is imported before that."""

from .app import main

__all__ = ["main"]
