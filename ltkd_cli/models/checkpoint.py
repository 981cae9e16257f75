"""Weight files: safetensors, with the network's spec as JSON in the metadata."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor

from ..errors import CheckpointError, UsageError, command
from ..files import read_regular, sha256_of, write_atomically
from ..records import Invalid, parse_json
from .network import Network, build, load_tensors
from .spec import ModelSpec

_METADATA_KEY = "ltkd_model"
_HINT = command("teach", remark="or distill, which write a new one")

_NOT_SAFETENSORS = (SafetensorError, Invalid, KeyError, RuntimeError, AssertionError)
"""What reading raises: also for types that torch lacks, and shapes that no tensor can have."""


def save(network: Network, path: str | Path) -> None:
    """Writes weights and spec to `path`, which holds either the old file or the whole new one."""
    tensors = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in network.state_dict().items()
    }
    metadata = {_METADATA_KEY: json.dumps(asdict(network.spec))}
    write_atomically(Path(path), to_bytes(tensors, metadata))


def load(path: str | Path, data: bytes | None = None) -> Network:
    """The network in a weight file, on the CPU and in training mode.

    `data` are the bytes of the file where they are known already, as those that
    `Run.verified_weights` compared with the run's checksum. Without them the file is read, and
    what is checked is its form: header, spec, and the name and shape of every tensor. A file
    whose numbers were changed loads, because it holds no checksum of its own.

    Downloads nothing and runs no code from the file. Raises CheckpointError for a file that is
    missing, damaged, of another program, or does not fit the network that it names.
    """
    path = Path(path)
    spec, tensors = _parsed(path, _read(path) if data is None else data)
    _check_head(path, spec, tensors)
    try:
        network = build(spec, 0, download=False)
    except UsageError as error:
        raise CheckpointError(f"{path} cannot be used here: {error.problem}", error.hint) from error
    _check(path, network.state_dict(), tensors)
    load_tensors(network, tensors)
    return network


def is_own(data: bytes) -> bool:
    """Whether these bytes of a whole safetensors file say which network of ltkd's they are of."""
    if data[8:9] != b"{":
        return False
    try:
        header = parse_json(data[8 : 8 + int.from_bytes(data[:8], "little")])
    except Invalid:
        return False
    return _METADATA_KEY in (header.get("__metadata__") or {})


def weights_sha256(path: str | Path) -> str:
    """SHA-256 of a file, 64 hex digits; CheckpointError where it cannot be read."""
    try:
        return sha256_of(Path(path))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}).", _HINT) from error


def _read(path: Path) -> bytes:
    try:
        return read_regular(path)
    except FileNotFoundError:
        raise CheckpointError(f"There is no weight file {path}.", _HINT) from None
    except OSError as error:
        raise CheckpointError(
            f"The weight file {path} cannot be read: {error.strerror}.", _HINT
        ) from error


def _parsed(path: Path, data: bytes) -> tuple[ModelSpec, dict[str, Tensor]]:
    try:
        tensors = from_bytes(data)
        header = parse_json(data[8 : 8 + int.from_bytes(data[:8], "little")])
    except _NOT_SAFETENSORS as error:
        raise CheckpointError(
            f"{path} is not a whole safetensors file ({error}).", _HINT
        ) from error
    return _spec(path, header.get("__metadata__") or {}), tensors


def _spec(path: Path, metadata: dict[str, str]) -> ModelSpec:
    text = metadata.get(_METADATA_KEY)
    if text is None:
        raise CheckpointError(
            f"{path} does not say which network its weights belong to.",
            command("teach", remark="or distill, as only weight files written by ltkd can be read"),
        )
    try:
        return ModelSpec.from_dict(parse_json(text.encode()))
    except ValueError as error:
        raise CheckpointError(
            f"{path} describes its network in words that this version does not know: {error}.",
            "pip install --upgrade ltkd",
        ) from error


def _check_head(path: Path, spec: ModelSpec, tensors: dict[str, Tensor]) -> None:
    """Checked before anything is built, so that a false spec cannot ask for endless memory."""
    head = tensors.get("head.weight")
    if head is None:
        raise CheckpointError(f"{path} has no tensor head.weight.", _HINT)
    width = spec.projection or (head.shape[-1] if head.ndim == 2 else 0)
    if not head.numel() or tuple(head.shape) != (spec.classes, width):
        raise CheckpointError(
            f"In {path} tensor head.weight has shape {list(head.shape)}, but the network"
            f" {spec.name} has {spec.classes} classes.",
            _HINT,
        )


def _check(path: Path, expected: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    for problem, names in (
        ("has no tensor", expected.keys() - found.keys()),
        ("has an unexpected tensor", found.keys() - expected.keys()),
    ):
        if names:
            raise CheckpointError(f"{path} {problem} {_first(names)}.", _HINT)
    for name, tensor in expected.items():
        if found[name].shape != tensor.shape:
            raise CheckpointError(
                f"In {path} tensor {name} has shape {list(found[name].shape)} instead of"
                f" {list(tensor.shape)}.",
                _HINT,
            )
        if found[name].dtype != tensor.dtype:
            raise CheckpointError(
                f"In {path} tensor {name} is of {found[name].dtype} instead of {tensor.dtype}.",
                _HINT,
            )


def _first(names: set[str]) -> str:
    more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
    return min(names) + more
