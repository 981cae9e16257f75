"""Last layers: features [B, D] in, logits [B, C] out."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CosineHead(nn.Module):
    """Logits [B, C] = scale * cos(features, weight of the class); no bias.

    The scale is fixed. It normalises a copy: the features that a network returns keep their
    length.

    Source: Iscen et al., "Class-Balanced Distillation for Long-Tailed Visual Recognition",
    BMVC 2021 (arXiv:2104.05279), scale 20.
    """

    def __init__(self, width: int, classes: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.weight = nn.Parameter(torch.empty(classes, width))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, features: Tensor) -> Tensor:
        return self.scale * F.linear(F.normalize(features), F.normalize(self.weight))


Head = nn.Linear | CosineHead
"""A last layer."""


def head(width: int, classes: int, cosine_scale: float | None) -> nn.Linear | CosineHead:
    """A cosine head, or a linear one where the scale is None."""
    if cosine_scale is None:
        return kaiming_linear(width, classes)
    return CosineHead(width, classes, cosine_scale)


def projection(width: int, projected: int) -> nn.Module:
    """Linear layer and ReLU from D to `projected`; nothing where that is 0."""
    if projected == 0:
        return nn.Identity()
    return nn.Sequential(kaiming_linear(width, projected), nn.ReLU())


def kaiming_linear(width: int, outputs: int) -> nn.Linear:
    """A linear layer with Kaiming-normal weights, as the long-tail literature starts it.

    Source: Cao et al., "Learning Imbalanced Datasets with Label-Distribution-Aware Margin
    Loss", NeurIPS 2019 (arXiv:1906.07413), its code.
    """
    layer = nn.Linear(width, outputs)
    nn.init.kaiming_normal_(layer.weight)
    return layer
