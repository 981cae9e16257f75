"""`python -m ltkd_cli` is `ltkd`."""

from .cli import main

main()
