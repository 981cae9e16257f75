"""The command line: options, one call, one print. Nothing heavy is imported before that."""

from __future__ import annotations

import sys


def main() -> None:
    """Runs `ltkd` and exits, quietly too where Ctrl-C comes before anything is loaded."""
    try:
        from .app import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()
