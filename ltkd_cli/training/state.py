"""Training state in a file, from which a training goes on bit for bit."""

from __future__ import annotations

import io
from pathlib import Path

import torch

from ..errors import CheckpointError
from ..files import write_atomically
from .loop import Training


def save_state(training: Training, path: Path) -> None:
    """Writes the training state so that a kill at any moment leaves the old or the new one."""
    state = io.BytesIO()  # where torch writes into a file, a full disk is an error of its own kind
    torch.save(training.snapshot(), state)
    write_atomically(path, state.getvalue())


def load_state(training: Training, path: Path) -> None:
    """Takes up the state in `path`; CheckpointError where it does not fit the training."""
    try:
        training.restore(torch.load(path, weights_only=True, map_location="cpu"))
    except Exception as error:
        raise CheckpointError(
            f"The training state {path} cannot be continued: {error}",
            f"start again, and remove {path.parent} if it is not needed",
        ) from error
