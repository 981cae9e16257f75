"""Options whose value may be left out."""

from __future__ import annotations

from collections.abc import Sequence

BARE = {("teach", "--freeze"): "all"}
"""(command, option) -> the value that it has when none follows."""


def with_values(name: str | None, arguments: Sequence[str]) -> list[str]:
    """The arguments of command `name` with every value that was left out."""
    typed: list[str] = []
    for place, argument in enumerate(arguments):
        typed.append(argument)
        following = arguments[place + 1] if place + 1 < len(arguments) else "-"
        value = BARE.get((name or "", argument))
        if value and following.startswith("-"):
            typed.append(value)
    return typed
