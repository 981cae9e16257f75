"""Options that had another name: the old name is refused, with the command line to type now."""

from __future__ import annotations

from ..errors import UsageError, command

RENAMED = {
    ("distill", "--at-once"): "--jobs",
    ("eval", "--on"): "--images",
    ("rebalance", "--how"): "--strategy",
    ("teach", "--views"): "--policy",
}
"""(command, old name) -> new name."""


def refuse_old_names(name: str, arguments: list[str]) -> None:
    """Raises UsageError where the arguments of command `name` use an option's old name."""
    for place, argument in enumerate(arguments):
        option, equals, value = argument.partition("=")
        if new := RENAMED.get((name, option)):
            mended = [*arguments[:place], new + equals + value, *arguments[place + 1 :]]
            raise UsageError(f"{option} of {name} is now called {new}.", command(name, *mended))
