"""What a distillation method is: (student outputs, batch) -> named, weighted loss terms.

A method is one class in one file of `ltkd_cli/methods/`; the file's name, with hyphens,
is its name on the command line. `all_names`, `find` and `options` read those files.
"""

from __future__ import annotations

import importlib
import inspect
import math
import pkgutil
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .errors import MethodError
from .splits import Groups

Outputs = dict[str, Tensor]
"""What a network says about B images: `logits` [B, C], `features` [B, D] (pooled)."""


@dataclass(frozen=True)
class Teacher:
    """What a method may know of one teacher before the first batch."""

    method: str
    """The method that trained it."""
    width: int
    """D of its stored features; 0 where none are stored."""
    untouched: Callable[[str], Tensor]
    """Reads one output by name, float32 [N, ...], for view 0 (the untouched image) of all rows."""
    classes: tuple[int, ...] = ()
    """The classes it was trained on; empty for all."""
    scores: dict[str, float] = field(default_factory=dict)
    """Its test scores by group (`all`, `head`, `medium`, `tail`), in [0, 1]."""


@dataclass(frozen=True)
class Task:
    """What a method may know before the first batch."""

    class_counts: Tensor
    """Training images of each class, int64 [C]."""
    labels: Tensor
    """Label of every training row, int64 [N]."""
    groups: Groups
    student_width: int
    """D of the student's features, after a projection that is part of the student."""
    teachers: tuple[Teacher, ...] = ()
    seed: int = 0

    @property
    def classes(self) -> int:
        """C."""
        return len(self.class_counts)


@dataclass(frozen=True)
class Batch:
    """One step's training data: exactly what the method declared, for the same views."""

    labels: Tensor
    """int64 [B]."""
    rows: Tensor
    """Row of every image in the training set, int64 [B]."""
    teachers: tuple[Outputs, ...]
    """What each teacher said about the very same pixels; float32."""
    progress: Tensor
    """Share of the training that lies behind, in [0, 1); float64 scalar tensor."""

    @property
    def teacher_logits(self) -> Tensor:
        """Logits [B, C] of the teacher, the mean over teachers where there are several."""
        if len(self.teachers) == 1:
            return self.teachers[0]["logits"]
        return torch.stack([outputs["logits"] for outputs in self.teachers]).mean(0)


class Method(nn.Module):
    """A way to train: declares what it needs, returns weighted terms that sum to the loss."""

    needs: ClassVar[frozenset[str]] = frozenset()
    """Cache datasets it reads: `logits`, `features`; empty for a method without a teacher."""
    sampler: ClassVar[str] = "instance"
    """How training rows are drawn: `instance` or `class-balanced`."""
    teacher: ClassVar[str] = "ce"
    """The method that its source trains the teacher with; a warning is given for another."""
    head: ClassVar[str] = "linear"
    """Last layer of the student: `linear`, or `cosine:SCALE` (unit features and weights)."""
    several_teachers: ClassVar[bool] = True
    """Whether more than one cache makes sense."""
    takes_experts: ClassVar[bool] = False
    """Whether it knows what to do with teachers that learned some of the classes only."""

    def __init__(self, task: Task) -> None:
        super().__init__()

    @classmethod
    def projection(cls, student_width: int, teacher_widths: tuple[int, ...]) -> int:
        """Width of a projection that stays in the deployed student; 0 for none."""
        return 0

    def forward(self, student: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Terms of the loss: name -> scalar tensor, already weighted; their sum is the loss.

        `student` is float32 and carries gradients; `logits` [B, C], `features` [B, D].
        """
        raise NotImplementedError(f"{type(self).__name__} defines no loss")


@dataclass(frozen=True)
class Option:
    """One option of a method, as `--set name=value` and `ltkd methods` know it."""

    name: str
    kind: type
    default: Any
    help: str

    def parse(self, text: str, method: str) -> Any:
        """The value that `text` names; MethodError where it is not of the option's type."""
        try:
            value = _PARSERS[self.kind](text)
        except (ValueError, KeyError):
            wanted = _KIND_WORDS[self.kind]
            raise MethodError(
                f"Option {self.name} of {method} takes {wanted}, and {text!r} is not one.",
                f"--set {self.name}={self.default}",
            ) from None
        return value


def all_names() -> list[str]:
    """Names of every method, in alphabetical order; imports none of them."""
    from . import methods

    return sorted(_command_line_name(m.name) for m in pkgutil.iter_modules(methods.__path__))


def find(name: str) -> type[Method]:
    """The class of a method by its command-line name; MethodError with the list otherwise."""
    if name not in all_names():
        raise MethodError(
            f"There is no method {name!r}; there are {', '.join(all_names())}.", "ltkd methods"
        )
    module = importlib.import_module(f"ltkd_cli.methods.{name.replace('-', '_')}")
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Method)
        and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise MethodError(
            f"The file of method {name} must hold exactly one Method class, not {len(found)}.",
            f"edit {module.__file__}",
        )
    return found[0]


def name_of(method: type[Method]) -> str:
    """Command-line name of a method class."""
    return _command_line_name(method.__module__.rpartition(".")[2])


def source_of(method: type[Method]) -> str:
    """The `Source:` paragraph of a method's docstring, on one line."""
    text = inspect.cleandoc(method.__doc__ or "")
    _, found, rest = text.partition("Source:")
    return " ".join(rest.split("\n\n")[0].split()) if found else ""


def options(method: type[Method]) -> list[Option]:
    """The keyword-only, `Annotated` parameters of a method's constructor, in order."""
    hints = typing.get_type_hints(method.__init__, include_extras=True)
    found = []
    for name, parameter in inspect.signature(method.__init__).parameters.items():
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            continue
        kind, text = typing.get_args(hints[name])[:2]
        found.append(Option(name, kind, parameter.default, text))
    return found


def parse_options(method: type[Method], settings: list[str]) -> dict[str, Any]:
    """Values for `NAME=VALUE` texts, checked against the method's options; all defaults filled."""
    known = {option.name: option for option in options(method)}
    values = {name: option.default for name, option in known.items()}
    for setting in settings:
        name, equals, text = setting.partition("=")
        name = name.strip().replace("-", "_")
        if not equals:
            raise MethodError(
                f"--set takes NAME=VALUE, not {setting!r}.", f"ltkd methods {name_of(method)}"
            )
        if name not in known:
            listed = ", ".join(known) or "none"
            raise MethodError(
                f"Method {name_of(method)} has no option {name!r}; its options: {listed}.",
                f"ltkd methods {name_of(method)}",
            )
        values[name] = known[name].parse(text.strip(), name_of(method))
    return values


def _command_line_name(module: str) -> str:
    return module.replace("_", "-")


def _parse_bool(text: str) -> bool:
    return _BOOL_WORDS[text.lower()]


def _parse_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


_BOOL_WORDS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}
_PARSERS: dict[type, Callable[[str], Any]] = {
    float: _parse_float,
    int: int,
    bool: _parse_bool,
    str: str,
}
_KIND_WORDS = {float: "a number", int: "a whole number", bool: "true or false", str: "text"}
