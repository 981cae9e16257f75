"""Commands whose help shows no type of value for flags, and which refuse old names of options."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup

from .renamed import refuse_old_names


class _PlainFlags:
    def get_params(self, ctx: Any) -> list[Any]:
        parameters: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for parameter in parameters:
            if getattr(parameter, "is_flag", False):
                parameter.metavar = ""  # Typer would show <bool>
        return parameters


class Command(_PlainFlags, TyperCommand):
    """One command of `ltkd`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        refuse_old_names(ctx.info_name, args)
        return super().parse_args(ctx, args)


class Group(_PlainFlags, TyperGroup):
    """`ltkd` itself, and those of its commands that have commands."""
