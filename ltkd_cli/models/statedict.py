"""State dicts that other programs wrote, and what in them belongs to a network.

Wrappers (`state_dict`, `model`) and prefixes (`module.`, `backbone.`) are understood by what is in
them: the part and the prefix are taken under which most names of the network are found.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import re
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_safetensors
from torch import Tensor

from ..errors import CheckpointError
from ..files import read_regular

StateDict = Mapping[str, Tensor]

PREFERRED = (
    *("state_dict_ema", "model_ema", "ema", "state_dict", "model_state_dict", "model_state"),
    *("model", "network", "net", "teacher", "student"),
)
"""Parts of a file, the one to take first where several fit equally well."""

HEADS = ("head", "fc", "classifier", "linear", "head.fc")
"""What the last layer is called, where the network's own library does not call it so."""

MAX_DEPTH = 3
"""Of dictionaries within one another."""

_ZIP = b"PK\x03\x04"

_UNREADABLE = (
    zipfile.BadZipFile,
    *(SafetensorError, RuntimeError, ValueError, TypeError, AttributeError, LookupError),
    *(ArithmeticError, EOFError, AssertionError, OSError),
)
"""What the libraries raise for contents that are no tensors; OSError for odd archives."""


@dataclass(frozen=True)
class WeightFile:
    """All tensors of a weight file, and the bytes they came from."""

    path: Path
    sha256: str
    parts: dict[str, StateDict]
    """State dicts by the names that lead to them, as `checkpoint.state_dict`; often one, ``."""
    data: bytes


SCALES = ("scales", "learned_norm")
"""Names of the scales of logits in learnable weight scaling: of classifier-balancing (Kang et al.,
arXiv:1910.09217) and of MiSLAS (Zhong et al., arXiv:2104.00466)."""


@dataclass(frozen=True)
class Linear:
    """A linear layer somewhere in a file."""

    part: str
    prefix: str
    """What stands before `weight` and `bias`, with its dot."""
    tensors: dict[str, Tensor]
    """`weight` [C, D] and `bias` [C]."""

    def __str__(self) -> str:
        named = {"part": self.part, "prefix": self.prefix}
        return " ".join(f"{what} {name}" for what, name in named.items() if name) or "the top level"


@dataclass(frozen=True)
class Matched:
    """Tensors of a state dict by the names of a network's backbone, and its head."""

    part: str
    prefix: str
    backbone: dict[str, Tensor]
    head: dict[str, Tensor]
    """`weight` [C, D] and `bias` [C] of a linear head; empty where there is none."""
    ignored: tuple[str, ...]
    """Modules that the network does not have, as `projector`."""
    beside: tuple[Linear, ...] = ()
    """Layers in other parts that fit the features, where that of the backbone has no head; one
    alone is the head."""
    unused: tuple[str, ...] = ()
    """What else the file has, where the head is in another part than the backbone."""
    parts: tuple[str, ...] = ()
    """Names of all parts of the file."""
    scales: str = ""
    """Name of the learned scales of the classes that head and bias are multiplied by; or empty."""

    @property
    def elsewhere(self) -> Linear | None:
        """The head, where it is in another part than the backbone."""
        return self.beside[0] if len(self.beside) == 1 else None


def read(path: Path) -> WeightFile:
    """The tensors in a safetensors file, or in one of torch.save; nothing in it is executed.

    CheckpointError where it cannot be read, or holds no tensors.
    """
    try:
        data = read_regular(path)
    except FileNotFoundError:
        raise CheckpointError(f"There is no weight file {path}.", "--weights FILE") from None
    except OSError as error:
        raise CheckpointError(
            f"The weight file {path} cannot be read: {error.strerror}.", "--weights FILE"
        ) from error
    parts = _parts(_parsed(path, data))
    if not parts:
        raise CheckpointError(
            f"{path} holds no tensors by name.",
            "a file of torch.save(network.state_dict(), FILE), or of safetensors",
        )
    return WeightFile(path, hashlib.sha256(data).hexdigest(), parts, data)


def match(
    file: WeightFile,
    expected: StateDict,
    width: int,
    classifiers: Sequence[str] = (),
    rename: Callable[[StateDict], StateDict] = lambda tensors: tensors,
) -> Matched:
    """What the file holds for a backbone with the tensors `expected` and D = `width` features.

    A head that stands in another part is found too, unless tensors of a backbone are beside it.
    Where learned scales of its logits are in the file (SCALES), the head is multiplied by them.
    `classifiers` are names of its library's last layer, `rename` gives tensors the names and
    shapes of that library. CheckpointError names the tensor that is missing, of another shape,
    not finite, or too many.
    """
    candidates = [
        (name, tensors) for name, given in file.parts.items() for tensors in (given, rename(given))
    ]
    name, best = max(candidates, key=lambda one: _fit(one[0], one[1], expected))
    prefix = _prefix(best, expected)
    found = {key.removeprefix(prefix): one for key, one in best.items() if key.startswith(prefix)}
    heads = (*classifiers, *HEADS)
    _check(file.path, found, expected, heads)
    head = _head(best, prefix, heads, width)
    backbones = {each for each, tensors in candidates if _fit(each, tensors, expected)[0]}
    beside = () if head else (*_linear_layers(file.parts, backbones, width),)
    unused = tuple[str, ...]()
    if len(beside) == 1:
        head, unused = beside[0].tensors, _unused(file.parts, name, beside[0])
    elsewhere = {part: tensors for part, tensors in file.parts.items() if part not in backbones}
    own = {key: one for key, one in best.items() if key.removeprefix(prefix) not in expected}
    scales, factors = _scales({**elsewhere, name: own}, len(head["weight"])) if head else ("", None)
    if factors is not None:
        head = {"weight": head["weight"] * factors[:, None], "bias": head["bias"] * factors}
        unused = tuple(each for each in unused if not scales.startswith(each))
    backbone = {key: found.get(key, value) for key, value in expected.items()}
    _check_finite(file.path, {**backbone, **{f"head.{key}": t for key, t in head.items()}})
    known = {_module(key) for key in expected} | {_module(key) for key in classifiers} | {*HEADS}
    ignored = dict.fromkeys(_module(key) for key in found if key not in expected)
    known.add(scales.rpartition(".")[2])
    others = tuple(each for each in ignored if each not in known)
    return Matched(name, prefix, backbone, head, others, beside, unused, (*file.parts,), scales)


def _parsed(path: Path, data: bytes) -> Any:
    """What is in the bytes of a file, whatever its name ends in."""
    try:
        if data[8:9] == b"{":
            return from_safetensors(data)
        if data.startswith(_ZIP) and zipfile.ZipFile(io.BytesIO(data)).testzip():
            raise ValueError("damaged")  # torch does not compare the archive's checksums
        with warnings.catch_warnings(action="ignore"):  # torch's advice on files of other kinds
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        needed = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"Python objects ({needed[1]})" if needed else "something else than tensors"
        raise CheckpointError(
            f"{path} holds {what}, and only tensors, numbers and texts are read from it.",
            "if you trust the file, load it in Python and save its state dict alone: "
            "torch.save(network.state_dict(), 'weights.pt')",
        ) from error
    except _UNREADABLE as error:
        raise CheckpointError(
            f"{path} is neither a whole safetensors file nor one of torch.save.",
            "a file of torch.save(network.state_dict(), FILE), or of safetensors",
        ) from error


def _parts(value: Any, name: str = "", depth: int = 0) -> dict[str, StateDict]:
    """Every dictionary within `value` that has tensors, by the names that lead to it."""
    if not isinstance(value, Mapping) or depth > MAX_DEPTH:
        return {}
    named = {key: one for key, one in value.items() if isinstance(key, str)}
    tensors = {key: one.detach() for key, one in named.items() if _is_plain(one)}
    found: dict[str, StateDict] = {name: tensors} if tensors else {}
    for key, one in named.items():
        found |= _parts(one, _joined(name, key), depth + 1)
    return found


def _joined(part: str, key: str) -> str:
    return f"{part}.{key}" if part else key


def _is_plain(value: object) -> bool:
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and not value.is_quantized
        and not value.is_complex()
    )


def _fit(name: str, tensors: StateDict, expected: StateDict) -> tuple[int, int]:
    """How many expected names a part has, and how usual the part is; more is better."""
    prefix = _prefix(tensors, expected)
    hits = sum(prefix + key in tensors for key in expected)
    last = name.rpartition(".")[2]
    return hits, -PREFERRED.index(last) if last in PREFERRED else -len(PREFERRED)


def _prefix(names: Iterable[str], expected: StateDict) -> str:
    """What stands before most of the expected names, with its dot; the shortest of several."""
    counts: Counter[str] = Counter()
    for name in names:
        start = 0
        while True:
            if name[start:] in expected:
                counts[name[:start]] += 1
            start = name.find(".", start) + 1
            if not start:
                break
    return max(counts, key=lambda prefix: (counts[prefix], -len(prefix)), default="")


def _check(path: Path, found: StateDict, expected: StateDict, heads: Sequence[str]) -> None:
    hint = "--model with the network that the weights are of"
    needed = [key for key in expected if not _may_be_absent(key)]
    missing = [key for key in needed if key not in found]
    if missing:
        part = "all" if len(missing) == len(needed) else f"{len(missing)} of the {len(needed)}"
        raise CheckpointError(
            f"{path} lacks {part} tensors of the network, the first of them {missing[0]}.", hint
        )
    for key, value in expected.items():
        if key in found and found[key].shape != value.shape:
            raise CheckpointError(
                f"In {path} tensor {key} has shape {[*found[key].shape]} instead of "
                f"{[*value.shape]}.",
                hint,
            )
    modules = {_module(key) for key in expected}
    surplus = [key for key in found if key not in expected and _module(key) in modules]
    surplus = [key for key in surplus if key.rpartition(".")[0] not in heads]
    if surplus:
        raise CheckpointError(
            f"{path} has tensors that the network lacks, the first of them {surplus[0]}.", hint
        )


def _check_finite(path: Path, tensors: StateDict) -> None:
    for key, value in tensors.items():
        if value.is_floating_point() and not bool(value.float().isfinite().all()):
            raise CheckpointError(
                f"In {path} tensor {key} holds numbers that are not finite.",
                "another file; this one is of a training that failed, or is damaged",
            )


def _head(tensors: StateDict, prefix: str, names: Sequence[str], width: int) -> dict[str, Tensor]:
    """Weight and bias of a last layer, which may stand beside the backbone or in it."""
    parts = prefix.split(".")[:-1]
    outer = [".".join([*parts[:n], ""]) for n in range(len(parts), -1, -1)]
    for before in outer:
        for name in names:
            if found := _linear(tensors, f"{before}{name}.", width):
                return found
    return {}


def _linear(tensors: StateDict, prefix: str, width: int) -> dict[str, Tensor]:
    """Weight and bias of a linear layer for D = `width` features; empty where it is none."""
    weight = tensors.get(f"{prefix}weight")
    if weight is None or weight.ndim != 2 or weight.shape[1] != width:
        return {}
    bias = tensors.get(f"{prefix}bias", torch.zeros(len(weight)))
    return {"weight": weight, "bias": bias} if bias.shape == weight.shape[:1] else {}


def _linear_layers(
    parts: Mapping[str, StateDict], without: Container[str], width: int
) -> Iterator[Linear]:
    """All linear layers for D = `width` features in the parts, but for those in `without`."""
    for part, tensors in parts.items():
        for key in tensors if part not in without else ():
            before, dot, last = key.rpartition(".")
            if last == "weight" and (found := _linear(tensors, before + dot, width)):
                yield Linear(part, before + dot, found)


def _scales(parts: Mapping[str, StateDict], classes: int) -> tuple[str, Tensor | None]:
    """Name and values [C] of the learned scales in the parts; None where not one stands out."""
    found = [
        (_joined(part, key), one.flatten())
        for part, tensors in parts.items()
        for key, one in tensors.items()
        if key.rpartition(".")[2] in SCALES and one.numel() == classes
    ]
    return found[0] if len(found) == 1 else ("", None)


def _unused(parts: Mapping[str, StateDict], backbone: str, head: Linear) -> tuple[str, ...]:
    """Parts that hold neither backbone nor head, and tensors beside the head; no single numbers."""
    taken = {head.prefix + name for name in head.tensors}
    inside = [key for key, one in parts[head.part].items() if key not in taken and one.ndim]
    others = [
        part
        for part, tensors in parts.items()
        if part not in (backbone, head.part) and any(one.ndim for one in tensors.values())
    ]
    return (*(_joined(head.part, key) for key in inside), *filter(None, others))


def _may_be_absent(key: str) -> bool:
    """Counts of batches, which PyTorch before 0.4.1 did not write and evaluation does not use."""
    return key.endswith("num_batches_tracked")


def _module(key: str) -> str:
    return key.partition(".")[0]
