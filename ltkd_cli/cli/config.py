"""`--config FILE.toml` of every command: options from a file; what is typed wins."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import typer

from .. import toml
from ..errors import Hint, LtkdError, UsageError, command, shortened
from .bare import BARE

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE.toml",
        help="Read options from a TOML file, by their names; those on the command line win.",
    ),
]

NOT_IN_FILES = frozenset({"config", "resume", "help"})
"""Options that mean something on the command line only."""

WITH_COMMAS = ("milestones", "seeds", "mean", "std")
"""Options that take several values as one text with commas; a file may give a list."""

REPLACES = {
    **{name: (name,) for name in ("method", "recipe", "strategy")},
    **dict.fromkeys(("data", "spec"), ("data", "spec")),
    "seed": ("seeds",),
    "seeds": ("seed",),
}
"""A typed option -> those of the file that give way to it, with all that refines them."""

REFINED_BY = {"method": ("set",), "seeds": ("jobs",), "strategy": ("strength", "evaluate-every")}
"""An option -> those that mean nothing with another value of it."""

REFINED_BY_PANEL = {"data": "data", "spec": "data", "recipe": "recipe", "strategy": "recipe"}
"""An option -> one in whose panel of the help all options refine it."""


def configurable(function: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the option --config, which `read_config` acts upon before it is called."""
    signature = inspect.signature(function, eval_str=True)
    option = inspect.Parameter(
        "config", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Config
    )

    @functools.wraps(function)
    def call(*, config: Path | None = None, **values: Any) -> None:
        function(**values)

    own = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in signature.parameters.values()]
    call.__signature__ = signature.replace(parameters=[*own, option])  # type: ignore[attr-defined]
    return call


def read_config(context: Any, parameters: list[Any], typed: Mapping[str, Any]) -> list[str]:
    """Makes the values in the file that `--config` names the defaults of a command's options.

    `typed` are the values on the command line, by parameter. Returns what to type before them:
    the names of a table that stay where the command line gives others. UsageError for a file
    that is no TOML, a key that is no option, and a value that its option does not take.
    """
    if not typed.get("config") or typed.get("help"):
        return []
    path = Path(typed["config"])
    known = {key: each for each in parameters for key in _keys(each)}
    values = toml.read(path)
    for key in values:
        _check_known(context, path, key, [*known])
    _refuse_two_names(path, values, known)
    given = {key: typed[each.name] for key, each in known.items() if _is_given(typed, each)}
    parsed = {key: _parsed(context, path, key, known[key], value) for key, value in values.items()}
    left_out = _replaced(values, known, given)
    kept = {key: value for key, value in parsed.items() if key not in left_out}
    context.default_map = {known[key].name: value for key, value in kept.items()}
    if left_out:
        from .. import console

        words = "which belong to what the command line replaces"
        console.note(f"{path}: without {', '.join(left_out)}, {words}")
    tables = (key for key in kept if key in given and isinstance(values[key], dict))
    return [part for key in tables for part in _merged(known[key], parsed[key], given[key])]


def _keys(parameter: Any) -> list[str]:
    """What a file may call a parameter: its long options, or the word that stands for it."""
    if parameter.param_type_name == "argument":
        return [(parameter.metavar or parameter.name).partition("|")[0].lower()]
    names = [option[2:] for option in parameter.opts if option.startswith("--")]
    return [name for name in names if name not in NOT_IN_FILES]


def _check_known(context: Any, path: Path, key: str, known: list[str]) -> None:
    if key in known:
        return
    names = context.command_path.split()[1:]
    if key in NOT_IN_FILES:
        raise UsageError(
            f"{path} names {key}, which belongs on the command line.", command(*names, f"--{key}")
        )
    near = difflib.get_close_matches(key.lower().replace("_", "-"), known, n=1)
    hint: Hint = f"{near[0]} = ..." if near else command(*names, "--help")
    meant = f"; the nearest is {near[0]}" if near else ""
    raise UsageError(f"{path} names {key!r}, and {names[-1]} has no such option{meant}.", hint)


def _refuse_two_names(path: Path, values: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """One option may have two names, and a file only one of them."""
    first: dict[str, str] = {}
    for key in values:
        other = first.setdefault(known[key].name, key)
        if other != key:
            raise UsageError(
                f"{path} names {other} and {key}, which are one option.", f"leave out {key}"
            )


def _is_given(typed: Mapping[str, Any], parameter: Any) -> bool:
    """Whether the parser found a value; what it found none for is None, empty or a sentinel."""
    value = typed.get(parameter.name)
    return isinstance(value, str | bool | int | list | tuple) and value not in ([], ())


def _replaced(
    values: Mapping[str, Any], known: Mapping[str, Any], given: Mapping[str, Any]
) -> list[str]:
    """Keys of the file that give way to the command line, or refine what does."""
    found = set[str]()
    for key, replaced in REPLACES.items():
        for other in replaced:
            if key in given and other in values and given[key] != str(values[other]):
                found |= {other, *REFINED_BY.get(other, ()), *_panel(known, other)}
    return sorted(found & values.keys() - given.keys())


def _panel(known: Mapping[str, Any], key: str) -> list[str]:
    """Options in the panel of the help that refines this one."""
    first = known.get(REFINED_BY_PANEL.get(key, ""))
    panel = _panel_of(first)
    alike = (other for other, each in known.items() if _panel_of(each) == panel)
    return [*alike] if panel else []


def _panel_of(parameter: Any) -> Any:
    return getattr(parameter, "rich_help_panel", None)


def _merged(parameter: Any, table: list[str], given: list[str]) -> list[str]:
    """The NAME=VALUE texts of a table whose names the command line does not give, as typed."""
    taken = {_name(text) for text in given}
    return [
        part for text in table if _name(text) not in taken for part in (parameter.opts[0], text)
    ]


def _name(text: str) -> str:
    return text.partition("=")[0].strip().replace("-", "_")


def _parsed(context: Any, path: Path, key: str, parameter: Any, value: Any) -> Any:
    """The value as the command line would hand it on, checked as it would be."""
    bare = BARE.get((context.info_name, f"--{key}"))
    if bare and type(value) is bool:
        value = bare if value else ""
    found = _as_typed(path, key, parameter, value)
    try:
        parameter.process_value(context, found)
    except typer.BadParameter as error:
        why = f"{_shown(value)}: {error.message.rstrip('.')}"
        raise _refusal(path, key, why) from None
    except LtkdError as error:
        raise type(error)(f"In {path}: {error.problem}", error.hint) from None
    return found


def _as_typed(path: Path, key: str, parameter: Any, value: Any) -> Any:
    """True or False for a flag, else the text, or list of texts, that one would type."""
    if getattr(parameter, "is_flag", False):
        if type(value) is not bool:
            raise _refusal(path, key, f"it takes true or false, not {_shown(value)}")
        return value
    several = getattr(parameter, "multiple", False) or parameter.nargs == -1
    if isinstance(value, dict):
        if not (several and "=" in (parameter.metavar or "")):
            raise _refusal(path, key, "it takes a value, not a table")
        return [f"{name}={_text(path, key, each, true=True)}" for name, each in value.items()]
    if isinstance(value, list):
        texts = [_text(path, key, each) for each in value]
        if several:
            return texts
        if key not in WITH_COMMAS:
            raise _refusal(path, key, "it takes one value, not a list")
        return ",".join(texts)
    text = _text(path, key, value)
    return [text] if several else text


def _text(path: Path, key: str, value: Any, *, true: bool = False) -> str:
    """A scalar as one would type it; true and false only where `true` says so."""
    if isinstance(value, bool) and true:
        return str(value).lower()
    if isinstance(value, str) and "\0" not in value:
        return value
    if type(value) in (int, float):
        return repr(value)
    raise _refusal(path, key, f"it takes text or a number, not {_shown(value)}")


def _refusal(path: Path, key: str, why: str) -> UsageError:
    return UsageError(
        f"{path} has a value that {key} does not take: {why}.", f"edit {quote(str(path))}"
    )


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "a list"
    return shortened(repr(value))
