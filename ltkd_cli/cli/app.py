"""The `ltkd` command and how every one of its failures ends."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from .. import __version__
from ..errors import Interrupted, LtkdError
from . import exporting, info, scoring, training

# Typer raises its usage errors by this class, whichever copy of Click it carries.
ClickException: type[Exception] = typer.BadParameter.__mro__[2]

app = typer.Typer(
    name="ltkd",
    help="Small, fast students that also work on the rare classes: long-tailed knowledge "
    "distillation from cached teacher outputs.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    epilog="Begin with: ltkd teach; ltkd export-logits; ltkd distill --method bkd; "
    "ltkd eval --split tail",
)
app.command(rich_help_panel="The four steps")(training.teach)
app.command(name="export-logits", rich_help_panel="The four steps")(exporting.export_logits)
app.command(rich_help_panel="The four steps")(training.distill)
app.command(name="eval", rich_help_panel="The four steps")(scoring.evaluate)
app.command(rich_help_panel="What there is")(scoring.runs)
app.command(rich_help_panel="What there is")(info.methods)
app.command(rich_help_panel="What there is")(info.data)
app.add_typer(exporting.cache, name="cache", rich_help_panel="What there is")


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"ltkd {__version__}")
        raise typer.Exit


@app.callback()
def _global_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Runs `ltkd` and exits: 0 done, else the code of the error's kind (see errors.py)."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Runs one command line; returns its exit code. Errors that are bugs keep their traceback."""
    try:
        code = app(arguments, standalone_mode=False, prog_name="ltkd")
    except LtkdError as error:
        _report(error.problem, error.hint)
        return error.exit_code
    except ClickException as error:
        return _report_usage(error)
    except (KeyboardInterrupt, typer.Abort):
        _report("Stopped.", "")
        return Interrupted.exit_code
    except BrokenPipeError:  # `ltkd runs | head`: the reader has what it wanted
        sys.stderr.close()
        return 0
    return code if isinstance(code, int) else 0


def _report(problem: str, hint: str) -> None:
    """An error on stderr, in colour on a terminal; without rich, so that it comes at once."""
    bold, red, end = ("\x1b[1m", "\x1b[1;31m", "\x1b[0m") if sys.stderr.isatty() else ("", "", "")
    sys.stderr.write(f"{red}error:{end} {problem}\n")
    if hint:
        sys.stderr.write(f"{bold}try:{end} {hint}\n")


def _report_usage(error: Exception) -> int:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "ltkd"
    message = error.format_message()  # type: ignore[attr-defined]
    if message:  # empty where the help was shown because nothing was asked for
        _report(message, f"{command} --help")
    else:
        sys.stderr.write(context.get_help() + "\n" if context else "")
    return 2
