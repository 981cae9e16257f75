"""The exponential moving average of a network's weights."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


def update_average(average: AveragedModel, network: nn.Module, decay: float) -> None:
    """Moves all weights that are trained, and all buffers, of the average towards the network's.

    The first update copies them. The average's own `update_parameters` does the same, but
    makes each step wait for the GPU.
    """
    blend = get_ema_multi_avg_fn(decay if average.n_averaged else 0.0)  # type: ignore[no-untyped-call]
    both = zip(_tensors(average.module), _tensors(network), strict=True)
    pairs = [
        pair for pair in both if pair[1].requires_grad or not isinstance(pair[1], nn.Parameter)
    ]
    for floating in (True, False):
        if chosen := [pair for pair in pairs if pair[0].is_floating_point() == floating]:
            blend([kept for kept, _ in chosen], [new for _, new in chosen], None)
    average.n_averaged += 1  # on the CPU: nothing to wait for


def _tensors(network: nn.Module) -> Iterator[Tensor]:
    return chain(network.parameters(), network.buffers())
