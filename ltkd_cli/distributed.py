"""Several processes that work as one, as torchrun starts them.

    torchrun --standalone --nproc-per-node 4 -m ltkd_cli teach

Each process is a rank of torch.distributed. All compute; rank 0 alone writes files and speaks.
In a process of its own, all of this is a rank 0 of one, which waits for nobody. Loads no PyTorch
before there is something to exchange.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import LtkdError, UsageError, command

if TYPE_CHECKING:
    import torch
    from torch import Tensor

COMMANDS = ("teach", "distill", "export-logits")
"""Those that several processes can share."""

Value = TypeVar("Value")

_SET_BY_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")

_PATIENCE = timedelta(hours=24)
"""For which ranks wait for one that evaluates or reads images; torchrun ends all when one fails."""


def size() -> int:
    """Number of processes."""
    return int(os.environ["WORLD_SIZE"]) if _begun_by_torchrun() else 1


def rank() -> int:
    """Number of this process, from 0."""
    return int(os.environ["RANK"]) if _begun_by_torchrun() else 0


def local_rank() -> int:
    """Number of this process on its machine, which is that of its GPU."""
    return int(os.environ["LOCAL_RANK"]) if _begun_by_torchrun() else 0


def check(arguments: Sequence[str]) -> None:
    """UsageError for a command line that several processes cannot share."""
    asked = arguments[0] if arguments else ""
    if size() > 1 and asked not in COMMANDS and not {"--help", "--version"} & {*arguments}:
        raise UsageError(
            f"ltkd {asked} works in one process, and torchrun has begun {size()}.",
            command(*arguments),
        )


def join(device: torch.device) -> None:
    """Lets the ranks find each other: NCCL for tensors on GPUs, gloo for those on the host."""
    if size() == 1:
        return
    import torch
    from torch import distributed

    if distributed.is_initialized():
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, timeout=_PATIENCE)
    atexit.register(distributed.destroy_process_group)


def shared(value: Value | None) -> Value:
    """The value of rank 0, on every rank; anything that can be pickled."""
    if size() == 1:
        assert value is not None
        return value
    from torch import distributed

    held: list[Any] = [value]
    with _waiting():
        distributed.broadcast_object_list(held, src=0)
    found: Value = held[0]
    return found


def barrier() -> None:
    """Waits until every rank is here."""
    agreed(lambda: False)()


@contextmanager
def first_alone() -> Iterator[None]:
    """Runs the body on rank 0, and then on the others, which find what it left on the disk."""
    if rank():
        barrier()
    yield
    if not rank():
        barrier()


def agreed(asked: Callable[[], bool]) -> Callable[[], bool]:
    """Whether any rank is asked; every rank has to call it as often as the others."""
    if size() == 1:
        return asked

    def any_is() -> bool:
        import torch
        from torch import distributed

        flag = torch.tensor([int(asked())])
        with _waiting():
            distributed.all_reduce(flag, distributed.ReduceOp.MAX)
        return bool(flag)

    return any_is


def add_up(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Sums over the ranks of scalars on one device, in one exchange."""
    if size() == 1:
        return values
    import torch
    from torch import distributed

    together = torch.stack(list(values.values()))
    with _waiting():
        distributed.all_reduce(together)
    return dict(zip(values, together.unbind(), strict=True))


def average(tensors: Sequence[Tensor]) -> None:
    """Puts the mean over the ranks in the place of tensors on one device, in one exchange."""
    if size() == 1:
        return
    import torch
    from torch import distributed

    flat = torch.cat([each.flatten() for each in tensors])
    with _waiting():
        distributed.all_reduce(flat)
    flat /= size()
    means = torch.split(flat, [each.numel() for each in tensors])
    for each, mean in zip(tensors, means, strict=True):
        each.copy_(mean.view_as(each))


def send_to_first(values: Tensor) -> None:
    """Sends values on the host to rank 0, which waits for them."""
    from torch import distributed

    with _waiting():
        distributed.send(values, dst=0)


def receive(values: Tensor, sender: int) -> Tensor:
    """Fills values on the host, whose shape and type are known, with what a rank sent."""
    from torch import distributed

    with _waiting():
        distributed.recv(values, src=sender)
    return values


def own(values: Tensor) -> Tensor:
    """The part of a batch [B, ...] that this rank works on."""
    return values if size() == 1 else values.tensor_split(size())[rank()]


@contextmanager
def _waiting() -> Iterator[None]:
    """Turns what gloo and NCCL raise where another rank is gone into an error of ours."""
    try:
        yield
    except RuntimeError as error:
        why = str(error).strip().partition("\n")[0][:200]
        raise LtkdError(
            f"Another of the {size()} processes has ended before its time, or cannot be reached "
            f"({why}).",
            "see what it says; then the same command, or the one that resumes the run",
        ) from error


def _begun_by_torchrun() -> bool:
    return all(name in os.environ for name in _SET_BY_TORCHRUN)
