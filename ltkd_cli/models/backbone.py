"""The part of a network below its head: images in, pooled features out."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from .spec import Channels


@dataclass(frozen=True)
class Backbone:
    """Layers that turn normalised images [B, 3, H, W] into features [B, width]."""

    layers: nn.Module
    width: int
    """D of the features."""
    minimum: int = 1
    """Images with a shorter side than this many pixels are enlarged first."""
    exact: tuple[int, int] | None = None
    """The one (H, W) that the layers accept; other sizes are resized to it. None for any."""
    statistics: tuple[Channels, Channels] | None = None
    """Mean and std that pretrained weights expect; None where the data set's apply."""
    classifier: str = ""
    """Name of the library's own last layer, which is left out here; empty where it has no one."""
