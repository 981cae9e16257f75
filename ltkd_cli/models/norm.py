"""Batch normalisation that torch.compile turns into fast code on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class BatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d`; compiled for training on a CPU, the same numbers by other sums.

    torch.compile writes a sum over all pixels of a batch as one chain of additions, each of
    which waits for the one before it: with the 16 channels of a narrow network that is slower
    than no compilation. `normalise` sums row by row first.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def forward(self, maps: Tensor) -> Tensor:
        """Normalised maps [B, C, H, W]."""
        compiled_for_cpu = torch.compiler.is_compiling() and maps.device.type == "cpu"
        if not (self.training and compiled_for_cpu):
            return super().forward(maps)
        normalised, mean, variance = normalise(maps, self.weight, self.bias, self.eps)
        pixels = maps.numel() // maps.shape[1]
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (pixels / (pixels - 1)), self.momentum)
            self.num_batches_tracked.add_(1)
        return normalised


def normalise(
    maps: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalised maps [B, C, H, W] in their own precision; mean and biased variance [C].

    Gradients are those of the normalised maps alone.
    """
    normalised, mean, variance = _Normalise.apply(maps, weight, bias, eps)
    return normalised, mean, variance


class _Normalise(torch.autograd.Function):
    """Forwards and backwards of batch normalisation, in float32 at least."""

    @staticmethod
    def forward(
        ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        pixels = maps.numel() // maps.shape[1]
        x = _last(maps)
        mean = _sum(x) / pixels
        off = x - mean
        # Not E[x^2] - E[x]^2, which rounding can make negative where a channel is constant.
        variance = _sum(off * off) / pixels
        inverse = (variance + eps).rsqrt()
        normalised = off * (inverse * weight) + bias
        ctx.save_for_backward(maps, weight, mean, inverse)
        ctx.mark_non_differentiable(mean, variance)
        return _first(normalised, maps), mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        maps, weight, mean, inverse = ctx.saved_tensors
        pixels = maps.numel() // maps.shape[1]
        g = _last(gradients[0])
        off = _last(maps) - mean
        of_bias = _sum(g)
        of_weight = _sum(g * off) * inverse
        even = g - of_bias / pixels - off * (inverse * of_weight / pixels)
        return _first(even * (inverse * weight), maps), of_weight, of_bias, None


def _sum(values: Tensor) -> Tensor:
    """Sum over all pixels of [B, H, W, C]: of each row first, then of the rows."""
    return values.sum(2).sum((0, 1))


def _last(maps: Tensor) -> Tensor:
    """Maps [B, C, H, W] as [B, H, W, C], in float32 at least."""
    return maps.permute(0, 2, 3, 1).to(torch.promote_types(maps.dtype, torch.float32))


def _first(values: Tensor, like: Tensor) -> Tensor:
    """The reverse of `_last`, in the precision of `like`."""
    return values.to(like.dtype).permute(0, 3, 1, 2)
