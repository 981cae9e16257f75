"""The `ltkd` command and how every one of its failures ends."""

from __future__ import annotations

import errno
import io
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from shlex import quote
from typing import Annotated

import typer

from .. import __version__, distributed
from ..errors import Interrupted, LtkdError, command, printable
from . import doctor as examining
from . import evaluate as scoring
from . import export as exporting
from . import info
from . import rebalance as rebalancing
from . import runs as listing
from . import train as training
from . import views as viewing
from .config import configurable
from .help import Command, Group

SECONDS_FOR_THE_FIRST = 5.0
"""In which the first of several processes may tell of an error that all have."""

FOUR_STEPS = "Train a student in four steps"
LOOK_UP = "Look up"
"""Panels of the help."""

# Typer raises its usage errors by this class, whichever copy of Click it carries.
ClickException: type[Exception] = typer.BadParameter.__mro__[2]

app = typer.Typer(
    name="ltkd",
    cls=Group,
    help="Long-tailed knowledge distillation: train small networks that also recognise rare "
    "classes, from the cached outputs of a teacher.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    epilog="Start with: ltkd teach; ltkd export-logits; ltkd distill --method bkd; "
    "ltkd eval --split tail",
)


def _add(panel: str, function: Callable[..., None], name: str | None = None) -> None:
    app.command(name, cls=Command, rich_help_panel=panel)(configurable(function))


_add(FOUR_STEPS, training.teach)
_add(FOUR_STEPS, exporting.export_logits, "export-logits")
_add(FOUR_STEPS, training.distill)
_add(FOUR_STEPS, scoring.evaluate, "eval")
_add("After training", rebalancing.rebalance)
app.add_typer(listing.runs, name="runs", rich_help_panel=LOOK_UP)
_add(LOOK_UP, info.methods)
_add(LOOK_UP, info.data)
_add(LOOK_UP, examining.doctor)
_add(LOOK_UP, viewing.views)
app.add_typer(exporting.cache, name="cache", rich_help_panel=LOOK_UP)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"ltkd {__version__}")
        raise typer.Exit


@app.callback()
def _global_options(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Print the version.",
        ),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Runs `ltkd` and exits: 0 done, else the code of the error's kind (see errors.py)."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # names in letters that its encoding lacks
    with suppress(ValueError):  # zsh passes on the comment behind a command that was pasted
        del sys.argv[sys.argv.index("#") :]
    if distributed.rank():
        sys.exit(_run_along(sys.argv[1:]))
    sys.exit(run(sys.argv[1:]))


def _run_along(arguments: list[str]) -> int:
    """Runs a command in one of several processes of which another speaks.

    An error that is this one's own is told after a while; one that all have, or an interruption,
    has ended this process by then, as torchrun ends all when one has failed.
    """
    streams, said = (sys.stdout, sys.stderr), io.StringIO()
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - no path of a file
        sys.stdout, sys.stderr = nowhere, said
        try:
            code = run(arguments)
        finally:
            sys.stdout, sys.stderr = streams
    if code and code != Interrupted.exit_code:
        time.sleep(SECONDS_FOR_THE_FIRST)
        sys.stderr.write(f"process {distributed.rank()}: {said.getvalue()}")
    return code


def run(arguments: list[str]) -> int:
    """Runs one command line; returns its exit code. Errors that are bugs keep their traceback."""
    try:
        distributed.check(arguments)
        code = app(arguments, standalone_mode=False, prog_name="ltkd")
    except Interrupted as error:  # what has no command to resume goes on when given again
        again = command(*arguments, processes=distributed.size())
        _report(error.problem, str(error.hint or again), "interrupted")
        return error.exit_code
    except LtkdError as error:
        _report(error.problem, str(error.hint))
        return error.exit_code
    except ClickException as error:
        return _report_usage(error, arguments)
    except (KeyboardInterrupt, typer.Abort):
        return _report_stop(arguments)
    except BrokenPipeError:  # `ltkd runs | head`: the reader has what it wanted
        return _hang_up()
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # PyTorch's, which may not be loaded here
            raise
        hint = command(*arguments, "--device", "cpu")
        _report("This needs more memory than the GPU has free.", str(hint))
        return 1
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            _report(f"No file can have so long a name: {error.filename}.", "a shorter name")
            return 1
        if isinstance(error, PermissionError) and error.filename is not None:
            name = os.fsdecode(error.filename)
            _report(f"{name} cannot be looked at: {error.strerror}.", f"ls -ld {quote(name)}")
            return 1
        if error.filename is not None or error.errno not in (errno.ENOSPC, errno.EIO):
            raise
        _report(f"The output cannot be written: {error.strerror}.", "df -h")
        return 1
    except SystemExit as end:  # Typer's own answer to a reader that is gone
        return _hang_up() if end.code == 1 else _code(end.code)
    if code == Interrupted.exit_code:  # Typer's own answer to Ctrl-C
        return _report_stop(arguments)
    return _code(code)


def _code(returned: object) -> int:
    return returned if isinstance(returned, int) else 0


def _hang_up() -> int:
    """Ends quietly: nobody reads what is left to say."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # what is no file in the first place
            os.dup2(nowhere, stream.fileno())
    return 0


def _report(problem: str, hint: str, what: str = "error") -> None:
    """An error on stderr, in colour on a terminal; without rich, so that it comes at once."""
    problem, hint = printable(problem, keep="\n"), printable(hint, keep="\n")
    coloured = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    bold, red, end = ("\x1b[1m", "\x1b[1;31m", "\x1b[0m") if coloured else ("", "", "")
    sys.stderr.write(f"{red}{what}:{end} {problem}\n")
    if hint:
        sys.stderr.write(f"{bold}try:{end} {hint}\n")


def _report_stop(arguments: list[str]) -> int:
    """The answer to Ctrl-C where no command listened: before or between the steps of its work."""
    resumes = any(each.partition("=")[0] == "--resume" for each in arguments)
    may_have_begun = arguments[:1] in (["teach"], ["distill"]) and not resumes
    again = command(*arguments, processes=distributed.size())
    hint = command("runs") if may_have_begun else again
    _report("stopped before the end.", str(hint), "interrupted")
    return Interrupted.exit_code


def _report_usage(error: Exception, arguments: list[str]) -> int:
    message = error.format_message()  # type: ignore[attr-defined]
    if message:  # empty where the help was shown because nothing was asked for
        known = [name for name in arguments[:1] if not name.startswith("-")]
        context = getattr(error, "ctx", None)
        path = context.command_path.split()[1:] if context else known
        _report(message, str(command(*path, "--help")))
    return 2
