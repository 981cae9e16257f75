"""Weight files: safetensors, with the network's spec as JSON in the metadata."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from ..errors import CheckpointError, UsageError
from .network import Network, without_weights
from .spec import ModelSpec

_METADATA_KEY = "ltkd_model"
_HINT = "ltkd teach or ltkd distill writes a new one"


def save(network: Network, path: str | Path) -> None:
    """Writes weights and spec to `path`, which holds either the old file or the whole new one."""
    path = Path(path)
    tensors = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in network.state_dict().items()
    }
    metadata = {_METADATA_KEY: json.dumps(asdict(network.spec))}
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(to_bytes(tensors, metadata))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def load(path: str | Path) -> Network:
    """The network in a weight file, on the CPU and in training mode.

    Downloads nothing and runs no code from the file. Raises CheckpointError for a file that is
    missing, damaged, of another program, or does not fit the network that it names.
    """
    path = Path(path)
    spec, tensors = _read(path)
    _check_head(path, spec, tensors)
    try:
        network = without_weights(spec)
    except UsageError as error:
        raise CheckpointError(f"{path} cannot be used here: {error.problem}", error.hint) from error
    _check(path, network.state_dict(), tensors)
    network.load_state_dict(tensors)
    return network


def weights_sha256(path: str | Path) -> str:
    """SHA-256 of a file, 64 hex digits; CheckpointError where it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}).", _HINT) from error


def _read(path: Path) -> tuple[ModelSpec, dict[str, Tensor]]:
    if not path.is_file():
        raise CheckpointError(f"There is no weight file {path}.", _HINT)
    try:
        with safe_open(path, framework="pt") as file:
            spec = _spec(path, file.metadata())
            return spec, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is not a whole safetensors file ({error}).", _HINT
        ) from error


def _spec(path: Path, metadata: dict[str, str] | None) -> ModelSpec:
    text = (metadata or {}).get(_METADATA_KEY)
    if text is None:
        raise CheckpointError(
            f"{path} does not say which network its weights belong to.",
            "only weight files written by ltkd can be read; " + _HINT,
        )
    try:
        return ModelSpec.from_dict(json.loads(text))
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"{path} describes its network in words that this version does not know ({error}).",
            "pip install --upgrade ltkd",
        ) from error


def _check_head(path: Path, spec: ModelSpec, tensors: dict[str, Tensor]) -> None:
    """Checked before anything is built, so that a false spec cannot ask for endless memory."""
    head = tensors.get("head.weight")
    if head is None:
        raise CheckpointError(f"{path} has no tensor head.weight.", _HINT)
    width = spec.projection or head.shape[-1]
    if tuple(head.shape) != (spec.classes, width):
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


def _first(names: set[str]) -> str:
    more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
    return min(names) + more
