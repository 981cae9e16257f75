"""The training data on its device; what the teacher said is tested through real caches in cli/."""

import pytest
import torch

from ltkd_cli.data import DataSpec, load
from ltkd_cli.training.loader import open_loader
from ltkd_cli.views.jitter import jitter
from ltkd_cli.views.policy import ViewPolicy, to_float, view

CPU = torch.device("cpu")
POLICY = ViewPolicy("crop-flip")


def batches(loader, sampler="instance", batch_size=64, start=0):
    draws = loader.draws(sampler, 0, 0)
    return draws, list(loader.batches(draws, batch_size, start, epoch=0, epochs=2))


def test_gives_the_drawn_views_in_order():
    train = load(DataSpec()).train
    draws, found = batches(open_loader(train, POLICY, (), frozenset(), CPU))
    rows = torch.cat([batch.rows for _, batch in found])
    expected = view(train.images.gather(rows), rows, draws.views[: len(rows)], POLICY)
    assert torch.equal(torch.cat([images for images, _ in found]), to_float(expected))
    assert torch.equal(torch.cat([batch.labels for _, batch in found]), train.labels[rows])


def test_starts_again_at_any_batch():
    loader = open_loader(load(DataSpec()).train, POLICY, (), frozenset(), CPU)
    _, whole = batches(loader)
    _, rest = batches(loader, start=3)
    assert len(rest) == len(whole) - 3
    for (images, batch), (expected, as_before) in zip(rest, whole[3:], strict=True):
        assert torch.equal(images, expected)
        assert torch.equal(batch.progress, as_before.progress)


def test_progress_runs_from_zero_towards_one_over_all_epochs():
    loader = open_loader(load(DataSpec()).train, POLICY, (), frozenset(), CPU)
    draws = loader.draws("instance", 0, 1)
    shares = [float(b.progress) for _, b in loader.batches(draws, 64, 0, epoch=1, epochs=2)]
    assert shares[0] == 0.5
    assert 0.9 < shares[-1] < 1


def test_draws_only_from_the_rows_it_is_given():
    train = load(DataSpec()).train
    tail = torch.nonzero(train.labels >= 7).flatten()
    for sampler in ("instance", "class-balanced"):
        loader = open_loader(train, POLICY, (), frozenset(), CPU, members=tail)
        draws, found = batches(loader, sampler, batch_size=8)
        assert len(draws.rows) == len(tail)
        assert min(int(batch.labels.min()) for _, batch in found) >= 7


class CacheOf:
    """As much of a cache as the drawing of views asks for."""

    def __init__(self, views):
        self.views = views

    def views_of(self, rows):
        return torch.arange(len(rows)) * self.views, torch.full_like(rows, self.views)


@pytest.mark.parametrize("views", [(2, 5), (5, 2)])
def test_draws_only_views_that_every_cache_holds(views):
    caches = tuple(CacheOf(each) for each in views)
    loader = open_loader(load(DataSpec()).train, POLICY, caches, frozenset(), CPU)
    for sampler in ("instance", "class-balanced"):
        drawn = torch.cat([loader.draws(sampler, 0, epoch).views for epoch in range(3)])
        assert drawn.unique().tolist() == [0, 1]


def test_changes_colours_after_the_view_where_it_is_told_to():
    train = load(DataSpec()).train
    plain = open_loader(train, POLICY, (), frozenset(), CPU)
    coloured = open_loader(train, POLICY, (), frozenset(), CPU, jitter_seed=4)
    draws, found = batches(plain)
    _, changed = batches(coloured)
    images, batch = found[0]
    assert torch.equal(changed[0][0], jitter(images, batch.rows, draws.views[:64], 4))
