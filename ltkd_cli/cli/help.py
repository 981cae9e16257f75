"""Commands with plainer help than Typer's, --config, and refusal of old names of options."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup

from .bare import with_values
from .config import read_config
from .renamed import refuse_old_names


class _PlainHelp:
    """Shows no type for options that take no value, and defaults at the end of the sentence."""

    def get_params(self, ctx: Any) -> list[Any]:
        parameters: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for parameter in parameters:
            if default := _default_of(parameter):
                parameter.help = rf"{parameter.help} [dim]\[default: {default}][/dim]"
            if getattr(parameter, "is_flag", False):
                parameter.metavar = ""  # Typer would show <bool>
            parameter.show_default = False  # Typer would put it on a line of its own
        return parameters


def _default_of(parameter: Any) -> str:
    """The default as the help shows it; empty where there is none, or it has been added."""
    shown, default = getattr(parameter, "show_default", False), parameter.default
    if isinstance(shown, str):
        return shown
    if not shown or default is None:
        return ""
    if not isinstance(default, bool):
        return str(default)
    names = parameter.opts if default else parameter.secondary_opts
    return str(names[0]) if parameter.secondary_opts else ""


class Command(_PlainHelp, TyperCommand):
    """One command of `ltkd`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        refuse_old_names(ctx.info_name, args)
        args = with_values(ctx.info_name, args)
        typed, *_ = self.make_parser(ctx).parse_args(args=[*args])
        return super().parse_args(ctx, [*read_config(ctx, self.get_params(ctx), typed), *args])


class Group(_PlainHelp, TyperGroup):
    """`ltkd` itself, and those of its commands that have commands."""
