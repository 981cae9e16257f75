"""What a network computes for B images, whether it runs now or its outputs come from a cache."""

from __future__ import annotations

from torch import Tensor

Outputs = dict[str, Tensor]
"""`logits` [B, C] (before softmax) and `features` [B, D] (pooled penultimate layer)."""
