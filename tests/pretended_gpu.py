"""A GPU that is not there, so that its code is tested on every machine.

What lies on it has a type, a shape and a place, but no values (PyTorch's fake tensors); what lies
on the host is real. So a test fails where the code mixes the two, and where it makes the host
wait for a value. Nothing is computed, and no gradient flows: autograd asks for a driver.
"""

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._pytree import tree_leaves

from ltkd_cli.training import loader

GPU = torch.device("cuda", 0)


class PretendedGpu(FakeTensorMode):
    """While it is entered, tensors can be put on GPU.

    With `strict`, one of the host may not be copied there in a way that makes the host wait.
    """

    strict = False

    def __init__(self):
        super().__init__(allow_non_fake_inputs=True)

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        if any(map(_is_there, tree_leaves((args, kwargs or {})))):
            if self.strict and _waits(operation, args, kwargs or {}):
                raise RuntimeError(f"the host waits for {operation}")
            return super().__torch_dispatch__(operation, types, args, kwargs)
        return operation(*args, **(kwargs or {}))


def pretend(monkeypatch):
    """A GPU to enter, with what would need a driver left out."""
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda values: values)
    monkeypatch.setattr(torch.Tensor, "backward", lambda loss: None)
    # A mode holds for one thread, and a module's parameters do not turn into fake ones.
    monkeypatch.setattr(loader, "_ahead", map)
    monkeypatch.setattr(torch.nn.Module, "to", _moved)
    return PretendedGpu()


def _is_there(argument):
    if isinstance(argument, torch.device):
        return argument.type == "cuda"
    return isinstance(argument, FakeTensor)


def _waits(operation, args, kwargs):
    """Whether it copies from the host and not asynchronously; an index is copied so."""
    if operation.name() == "aten::index.Tensor":
        return any(index is not None and not _is_there(index) for index in args[1])
    copies = operation.name() in ("aten::_to_copy", "aten::copy_")
    return copies and not _is_there(args[-1]) and not kwargs.get("non_blocking")


def _moved(module, device=None, memory_format=None):
    for part in module.modules():
        for held in (part._parameters, part._buffers):
            for name, values in held.items():
                if values is not None:
                    order = (
                        memory_format
                        if memory_format and values.ndim == 4
                        else torch.preserve_format
                    )
                    there = values.detach().to(device or values.device, memory_format=order)
                    held[name] = there.requires_grad_(values.requires_grad)
    return module
