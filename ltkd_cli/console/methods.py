"""Methods: the list, and everything about one of them. Nothing here loads PyTorch at first."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from ..errors import command
from ..methods.listing import Listed, all_names, listed
from . import terminal

if TYPE_CHECKING:
    from ..methods.contract import Method


def print_methods() -> None:
    """A line for every method."""
    rows = [
        (method.name, _joined(_needs(method)), _yes(_mixes(method)), method.title)
        for method in listed()
    ]
    terminal.table(("method", "reads", "mixtures", "what it is"), rows, words=4)
    terminal.note("mixtures: whether it trains on views that mix images, by mixup and cutmix")
    terminal.note(f"formula, options and source of one: {command('methods', 'bkd')}")


def print_method(name: str) -> None:
    """Everything about one method; MethodError where there is none of that name."""
    from ..methods.finding import find
    from ..methods.options import options

    method = find(name)
    terminal.styled(f"[bold]{name}[/]\n\n{escape(_title(method))}.\n")
    for paragraph in inspect.cleandoc(method.__doc__ or "").split("\n\n"):
        terminal.result(" ".join(paragraph.split()) + "\n")
    terminal.facts(
        "What it needs",
        [
            ("from the cache", _joined(method.needs)),
            ("sampling", method.sampler),
            ("teacher trained by", method.teacher if method.needs else "-"),
            ("last layer", method.head),
            ("mixtures of images", method.mixtures or "no"),
        ],
        to=terminal.STDOUT,
    )
    rows = [(f"{option.name}={option.default}", option.help) for option in options(method)]
    terminal.result("")
    terminal.facts("Options, for --set", rows or [("none", "")], to=terminal.STDOUT)


def methods_document(name: str | None) -> Any:
    """The same for programs: one method, or all in a list."""
    if name is not None:
        return _document(name)
    return [_document(each) for each in all_names()]


def _document(name: str) -> dict[str, Any]:
    from ..methods.finding import find, source_of
    from ..methods.options import options

    method = find(name)
    return {
        "name": name,
        "needs": sorted(method.needs),
        "sampler": method.sampler,
        "teacher": method.teacher if method.needs else None,
        "head": method.head,
        "mixtures": method.mixtures or None,
        "source": source_of(method),
        "description": inspect.cleandoc(method.__doc__ or ""),
        "options": [
            {"name": o.name, "type": o.kind.__name__, "default": o.default, "help": o.help}
            for o in options(method)
        ],
    }


def _needs(method: Listed) -> frozenset[str]:
    if method.needs is not None:
        return method.needs
    from ..methods.finding import find

    return find(method.name).needs


def _mixes(method: Listed) -> bool:
    if method.mixes is not None:
        return method.mixes
    from ..methods.finding import find

    return bool(find(method.name).mixtures)


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"


def _joined(needs: Iterable[str]) -> str:
    return " and ".join(sorted(needs, reverse=True)) or "-"


def _title(method: type[Method]) -> str:
    """The first sentence of the file's docstring, which says what the method is."""
    module = inspect.getmodule(method)
    return inspect.cleandoc(module.__doc__ or "").split("\n")[0].rstrip(".") if module else ""
