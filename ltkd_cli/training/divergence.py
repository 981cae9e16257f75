"""Stopping where a loss is not finite, with the batch named."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import Diverged


class LossCheck:
    """Raises Diverged for the first batch of an epoch whose loss is not finite.

    On the CPU at once; on a GPU at the end of the epoch, because every step would wait for the
    GPU if its loss were read.
    """

    def __init__(self, epoch: int, rows: Tensor, batch_size: int, device: torch.device) -> None:
        """For epoch `epoch`, counted from 0, over the rows int64 [N] in training order."""
        self.epoch, self.rows, self.batch_size = epoch, rows, batch_size
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
        rows = self.rows[number * self.batch_size : (number + 1) * self.batch_size].tolist()
        shown = ", ".join(map(str, rows[:8])) + (", ..." if len(rows) > 8 else "")
        raise Diverged(
            f"The loss of batch {number + 1} in epoch {self.epoch + 1} is not finite "
            f"(training rows {shown}).",
            "--learning-rate 0.02, or --clip-norm 1, or --precision float32",
        )
