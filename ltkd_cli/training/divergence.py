"""Stopping where a loss is not finite, with the batch named."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..errors import Diverged
from .recipe import Recipe


class LossCheck:
    """Raises Diverged for the first batch of an epoch whose loss is not finite.

    On the CPU at once; on a GPU at the end of the epoch, or when a state is to be kept, because
    every step would wait for the GPU if its loss were read.
    """

    def __init__(
        self, epoch: int, rows: Tensor, recipe: Recipe, precision: str, device: torch.device
    ) -> None:
        """For epoch `epoch`, counted from 0, over the rows int64 [N] in training order."""
        self.epoch, self.rows, self.recipe, self.precision = epoch, rows, recipe, precision
        self.first_bad = torch.full((), -1, device=device)

    def add(self, loss: Tensor, number: int) -> None:
        """Takes the loss, a scalar, of batch `number`, counted from 0."""
        finite = torch.isfinite(loss.detach())
        self.first_bad = torch.where(finite | (self.first_bad >= 0), self.first_bad, number)
        if not loss.is_cuda:
            self.finish()

    def finish(self) -> None:
        """Raises Diverged where a loss was not finite; waits for the device."""
        number = int(self.first_bad)
        if number < 0:
            return
        size = self.recipe.batch_size
        rows = self.rows[number * size : (number + 1) * size].tolist()
        shown = ", ".join(map(str, rows[:8])) + (", ..." if len(rows) > 8 else "")
        raise Diverged(
            f"The loss of batch {number + 1} in epoch {self.epoch + 1} is not finite "
            f"(training rows {shown}).",
            ", or ".join(self._steadier()),
        )

    def _steadier(self) -> Iterator[str]:
        """Options that this training did not have, and that may keep it from diverging."""
        yield f"--learning-rate {self.recipe.learning_rate / 5:g}"
        if not self.recipe.clip_norm:
            yield "--clip-norm 1"
        if self.precision != "float32":
            yield "--precision float32"
