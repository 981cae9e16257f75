"""The command line: options, one call, one print. Nothing heavy is imported until a command runs."""

from .app import main

__all__ = ["main"]
