import pytest
import torch

from ltkd_cli.training.sampling import UNLIMITED_VIEWS, batches_of, draw_epoch, whole_batches

COUNTS = torch.tensor([500, 120, 40, 9, 3])
LABELS = torch.repeat_interleave(torch.arange(5), COUNTS)[
    torch.randperm(672, generator=torch.Generator().manual_seed(0))
]
FOUR = torch.full((672,), 4)


def test_instance_sampling_draws_every_row_once():
    draws = draw_epoch(LABELS, "instance", seed=0, epoch=0)
    assert sorted(draws.rows.tolist()) == list(range(672))


@pytest.mark.parametrize("sampler", ["instance", "class-balanced"])
def test_the_same_seed_and_epoch_give_the_same_draws(sampler):
    first, again = (draw_epoch(LABELS, sampler, 5, 9, FOUR) for _ in range(2))
    assert torch.equal(first.rows, again.rows)
    assert torch.equal(first.views, again.views)


@pytest.mark.parametrize("sampler", ["instance", "class-balanced"])
@pytest.mark.parametrize(("seed", "epoch"), [(6, 9), (5, 10)])
def test_another_seed_or_epoch_gives_another_order(sampler, seed, epoch):
    first = draw_epoch(LABELS, sampler, 5, 9)
    assert not torch.equal(first.rows, draw_epoch(LABELS, sampler, seed, epoch).rows)


def test_class_balanced_sampling_draws_every_class_equally_often():
    draws = draw_epoch(LABELS, "class-balanced", 0, 0)
    drawn = torch.bincount(LABELS[draws.rows])
    assert len(draws.rows) == len(LABELS)
    assert drawn.max() - drawn.min() <= 1


def test_class_balanced_sampling_uses_every_row_of_a_class_before_any_again():
    draws = draw_epoch(LABELS, "class-balanced", 0, 0)
    for label in range(5):
        times = torch.bincount(draws.rows[LABELS[draws.rows] == label], minlength=672)
        times = times[label == LABELS]
        assert times.max() - times.min() <= 1


def test_class_balanced_sampling_skips_a_class_without_images():
    labels = LABELS.clone()
    labels[labels == 3] = 4
    drawn = torch.bincount(labels[draw_epoch(labels, "class-balanced", 0, 0).rows])
    assert drawn[3] == 0
    assert drawn[[0, 1, 2, 4]].min() == 168


def test_views_of_a_repeated_row_differ_until_all_are_used():
    limits = torch.full((672,), 50)
    draws = draw_epoch(LABELS, "class-balanced", 0, 0, limits)
    for row in torch.nonzero(LABELS == 4).flatten():
        views = draws.views[draws.rows == row]
        assert len(views) >= 44
        assert len(views.unique()) == len(views)


def test_views_stay_within_what_the_cache_holds_for_each_row():
    limits = torch.arange(672) % 5 + 1
    draws = draw_epoch(LABELS, "instance", 0, 3, limits)
    assert (draws.views < limits[draws.rows]).all()
    assert set(draws.views.tolist()) == set(range(5))


def test_without_a_limit_views_never_repeat_in_practice():
    seen = [draw_epoch(LABELS, "instance", 0, epoch).views for epoch in range(20)]
    views = torch.cat(seen)
    assert views.max() < UNLIMITED_VIEWS
    assert len(views.unique()) == len(views)


@pytest.mark.parametrize(
    ("draws", "batch_size", "batches"),
    [(256, 128, 2), (257, 128, 2), (258, 128, 3), (1, 128, 1), (3, 1, 3)],
)
def test_a_last_batch_of_a_single_image_is_left_out(draws, batch_size, batches):
    assert batches_of(draws, batch_size) == batches


@pytest.mark.parametrize(("batch_size", "kept"), [(128, 640), (336, 672), (672, 672), (1000, 672)])
def test_whole_batches_leave_out_what_fills_none_unless_that_is_everything(batch_size, kept):
    draws = draw_epoch(LABELS, "instance", seed=0, epoch=0)
    whole = whole_batches(draws, batch_size)
    assert torch.equal(whole.rows, draws.rows[:kept])
    assert torch.equal(whole.views, draws.views[:kept])
