"""Frames of unit vectors that give every class the same room, and their rotation onto data."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

_STEPS = 300
"""Of the search for a frame without a closed form."""

_MAX_SEARCHED = 1000
"""Classes up to which that search takes seconds; its cost grows with their square."""


def balanced_frame(classes: int, width: int) -> Tensor:
    """Unit anchors float64 [C, min(D, C - 1)] with a small largest pairwise cosine.

    With D >= C - 1 they form a simplex equiangular tight frame: every pairwise cosine is
    -1 / (C - 1). With C <= 2 D they form several simplices in orthogonal subspaces, whose
    largest cosine of 0 cannot be improved; classes of one simplex lie opposite each other.
    Beyond that there is no closed form, and the smallest is not known: orthogonal
    bases and their negatives, which a search pushes apart where there are at most 1,000
    classes. No part of this is random: the same sizes give the same frame.

    Source: Papyan, Han and Donoho, "Prevalence of Neural Collapse during the Terminal Phase
    of Deep Learning Training", PNAS 2020 (arXiv:2008.08186) for the simplex; Rankin, "The
    Closest Packing of Spherical Caps in n Dimensions", 1955, for the optimum up to C = 2 D.
    """
    if classes <= 2 * width:
        return _orthogonal_simplices(classes, min(width, classes - 1))
    bases = _signed_bases(classes, width)
    return _spread(bases) if classes <= _MAX_SEARCHED else bases


def procrustes(anchors: Tensor, targets: Tensor) -> Tensor:
    """Matrix R [E, D] with orthonormal rows for which anchors R comes closest to the targets.

    `anchors` [C, E] and `targets` [C, D] are float64, E <= D; closest in squared distance.
    With E = D it is the orthogonal Procrustes rotation (or reflection).

    Source: Schönemann, "A Generalized Solution of the Orthogonal Procrustes Problem",
    Psychometrika 1966.
    """
    parts: tuple[Tensor, Tensor, Tensor] = torch.linalg.svd(
        anchors.T @ targets, full_matrices=False
    )
    left, _, right = parts
    return left @ right


def _simplex(points: int) -> Tensor:
    """Corners [K, K - 1] of a regular simplex around the origin, of length 1.

    They are the rows of the Helmert basis of the vectors that sum to zero, rescaled.
    """
    size = torch.arange(1, points, dtype=torch.float64)
    ones = torch.ones(points, points - 1, dtype=torch.float64)
    below = torch.zeros_like(ones).diagonal_scatter(-size, offset=-1)
    basis = (ones.triu() + below) / (size * (size + 1)).sqrt()
    return basis * math.sqrt(points / (points - 1))


def _orthogonal_simplices(classes: int, width: int) -> Tensor:
    """Anchors [C, D] of C - D simplices of nearly equal size in orthogonal subspaces."""
    simplices = classes - width
    frame = torch.zeros(classes, width, dtype=torch.float64)
    row = 0
    for i in range(simplices):
        size = classes // simplices + (i < classes % simplices)
        frame[row : row + size, row - i : row - i + size - 1] = _simplex(size)
        row += size
    return frame


def _signed_bases(classes: int, width: int) -> Tensor:
    """Unit rows [C, D]: orthonormal bases from a fixed seed, each followed by its negative."""
    generator = torch.Generator().manual_seed(0)
    bases = -(-classes // (2 * width))
    drawn = torch.randn(bases, width, width, generator=generator, dtype=torch.float64)
    orthonormal = torch.linalg.qr(drawn).Q
    return torch.cat([orthonormal, -orthonormal], dim=1).flatten(0, 1)[:classes]


def _spread(anchors: Tensor) -> Tensor:
    """The anchors [C, D] after every one has moved away from its nearest neighbours.

    The steps shrink, and the weights of neighbours sharpen until the closest alone count.
    """
    for step in range(_STEPS):
        done = step / _STEPS
        cosines = (anchors @ anchors.T).fill_diagonal_(-torch.inf)
        nearest = torch.softmax(4 * 100**done * cosines, dim=1)
        anchors = normalize(anchors - 0.5 * (1 - done) * (nearest @ anchors), dim=1)
    return anchors
