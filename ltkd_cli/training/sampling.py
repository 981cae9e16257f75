"""Which rows and which of their views an epoch trains on: hashes of (seed, epoch, ...)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..rng import counter_hash

UNLIMITED_VIEWS = 1 << 40
"""Number of views of a row where no cache limits them."""

_ORDER, _CLASS_ORDER, _CLASS_ROWS, _VIEW = range(4)  # independent streams of one seed


@dataclass(frozen=True)
class SampledViews:
    """The rows of one epoch in training order and the view of each, int64 [N] both."""

    rows: Tensor
    views: Tensor


def batches_of(draws: int, batch_size: int, processes: int = 1) -> int:
    """Batches of so many sampled rows; a last one of less than two images a process is left out.

    Batch normalisation has nothing to normalise by where one image leaves one value a channel.
    """
    last = draws % batch_size
    too_small = 0 < last < min(2 * processes, batch_size) and draws > batch_size
    return math.ceil(draws / batch_size) - too_small


def whole_batches(draws: SampledViews, batch_size: int) -> SampledViews:
    """The sampled rows without the last, which fill no batch; all where there is no full one."""
    filled = len(draws.rows) // batch_size * batch_size or len(draws.rows)
    return SampledViews(draws.rows[:filled], draws.views[:filled])


def draw_epoch(
    labels: Tensor,
    sampler: str,
    seed: int,
    epoch: int,
    view_counts: Tensor | None = None,
    subset: Tensor | None = None,
) -> SampledViews:
    """The N rows that an epoch samples from a training set with `labels` [N], and their views.

    The sampler `instance` takes every row once, `class-balanced` every class equally often.
    `view_counts` int64 [N] limits the views of each row; without it views are unlimited.
    Within an epoch the views of a row that is drawn again differ until all are used. Of a
    `subset` of rows, int64 [M], the epoch samples M.
    """
    if subset is not None:
        own_views = None if view_counts is None else view_counts[subset]
        sampled = draw_epoch(labels[subset], sampler, seed, epoch, own_views)
        return SampledViews(subset[sampled.rows], sampled.views)
    if sampler == "class-balanced":
        rows, repeats = _class_balanced(labels, seed, epoch)
    else:
        rows = torch.argsort(counter_hash(seed, _ORDER, epoch, torch.arange(len(labels))))
        repeats = torch.zeros_like(rows)
    limit = UNLIMITED_VIEWS if view_counts is None else view_counts[rows]
    views = (counter_hash(seed, _VIEW, epoch, rows) + repeats) % limit
    return SampledViews(rows, views)


def _class_balanced(labels: Tensor, seed: int, epoch: int) -> tuple[Tensor, Tensor]:
    """N rows, every class once a round in shuffled order, and how often each came before.

    A class goes through all its rows in shuffled order before any comes again.
    Source: the class-aware sampler of Kang et al., "Decoupling Representation and
    Classifier for Long-Tailed Recognition", ICLR 2020 (arXiv:1910.09217), with an epoch of
    N draws. Their code, and that of LFME and MiSLAS, draws four images of a class in a row;
    here it is one, so that a batch holds the classes as evenly as it can.
    """
    counts = torch.bincount(labels)
    present = torch.nonzero(counts).flatten()
    counts = counts[present]
    rounds = -(-len(labels) // len(present))
    shuffled = counter_hash(
        seed, _CLASS_ORDER, epoch, torch.arange(rounds)[:, None], torch.arange(len(present))
    )
    class_of_draw = torch.argsort(shuffled, dim=1).flatten()[: len(labels)]
    round_of_draw = torch.arange(rounds).repeat_interleave(len(present))[: len(labels)]
    ordered, starts = _shuffled_cycles(labels, counts, rounds, seed, epoch)
    rows = ordered[starts[class_of_draw] + round_of_draw]
    return rows, round_of_draw // counts[class_of_draw]


def _shuffled_cycles(
    labels: Tensor, counts: Tensor, rounds: int, seed: int, epoch: int
) -> tuple[Tensor, Tensor]:
    """For each class its rows again and again, shuffled anew each time, `rounds` or more long.

    Returns all of them in one tensor, and where each class begins.
    """
    by_class = torch.argsort(labels, stable=True)
    cycles = -(-rounds // counts)
    cycles_of_row = cycles.repeat_interleave(counts)
    rows = by_class.repeat_interleave(cycles_of_row)
    ends = cycles_of_row.cumsum(0)
    cycle = torch.arange(len(rows)) - (ends - cycles_of_row).repeat_interleave(cycles_of_row)
    order = torch.argsort(counter_hash(seed, _CLASS_ROWS, epoch, rows, cycle))
    group = labels[rows] * (int(cycles.max()) + 1) + cycle
    order = order[torch.argsort(group[order], stable=True)]
    lengths = cycles * counts
    return rows[order], lengths.cumsum(0) - lengths
