"""The training data on its device; batches with teacher outputs are tested in commands/."""

import os
from dataclasses import replace

import pytest
import torch
from small_training import CLASSES, CPU, WIDTH, cache_of

from ltkd_cli.errors import CacheDamaged
from ltkd_cli.training.loader import bytes_to_keep, open_loader
from ltkd_cli.training.recipe import Recipe
from ltkd_cli.views.policy import Policy, render, to_float, view
from ltkd_cli.views.steps.simclr_jitter import jitter

POLICY = Policy("crop-flip")
LOGITS = frozenset({"logits"})


def opened(data, caches=(), **options):
    return open_loader(data.train, POLICY, caches, frozenset(), CPU, **options)


def batches(loader, sampler="instance", batch_size=64, start=0):
    sampled = loader.sample_epoch(sampler, 0, 0)
    return sampled, list(loader.batches(sampled, batch_size, start, epoch=0, epochs=2))


def test_gives_the_sampled_views_in_order(digits):
    train = digits.train
    sampled, found = batches(opened(digits))
    rows = torch.cat([batch.rows for _, batch in found])
    expected = view(train.images.gather(rows), rows, sampled.views[: len(rows)], POLICY)
    assert torch.equal(torch.cat([images for images, _ in found]), to_float(expected))
    assert torch.equal(torch.cat([batch.labels for _, batch in found]), train.labels[rows])


@pytest.mark.parametrize("sampler", ["instance", "class-balanced"])
def test_mixtures_come_with_the_labels_rows_and_shares_of_their_partners(digits, sampler):
    train, policy = digits.train, Policy("crop+mixup:0.8:0.7+cutmix:1", seed=5)
    sampled, found = batches(replace(opened(digits), policy=policy), sampler)
    done = 0
    for images, batch in found:
        views = sampled.views[done : done + len(images)]
        seen = render(train.images.gather, batch.rows, views, policy, len(train.labels))
        assert torch.equal(images, to_float(seen.images))
        assert torch.equal(batch.labels, train.labels[batch.rows])
        assert torch.equal(batch.partners.rows, seen.partner_rows)
        assert torch.equal(batch.partners.labels, train.labels[seen.partner_rows])
        assert torch.equal(batch.partners.shares, seen.shares)
        done += len(images)
    assert 0.75 < sum(int((b.partners.shares < 1).sum()) for _, b in found) / done < 0.95


def test_views_that_are_not_mixed_have_no_partners(digits):
    _, found = batches(opened(digits))
    assert all(batch.partners is None for _, batch in found)


def test_starts_again_at_any_batch(digits):
    loader = opened(digits)
    _, whole = batches(loader)
    _, rest = batches(loader, start=3)
    assert len(rest) == len(whole) - 3
    for (images, batch), (expected, as_before) in zip(rest, whole[3:], strict=True):
        assert torch.equal(images, expected)
        assert torch.equal(batch.progress, as_before.progress)


def test_progress_runs_from_zero_towards_one_over_all_epochs(digits):
    loader = opened(digits)
    sampled = loader.sample_epoch("instance", 0, 1)
    shares = [float(b.progress) for _, b in loader.batches(sampled, 64, 0, epoch=1, epochs=2)]
    assert shares[0] == 0.5
    assert 0.9 < shares[-1] < 1


@pytest.mark.parametrize(
    ("share", "epoch", "epochs"), [(0.8, 160, 200), (0.795, 159, 200), (0.8, 24, 30), (0.1, 9, 90)]
)
@pytest.mark.parametrize("batch_size", [7, 64])
def test_a_share_of_the_training_has_passed_with_the_first_batch_of_its_epoch(
    digits, share, epoch, epochs, batch_size
):
    loader = opened(digits)
    sampled = loader.sample_epoch("instance", 0, 0)
    before, after = (
        [float(batch.progress) for _, batch in loader.batches(sampled, batch_size, 0, each, epochs)]
        for each in (epoch - 1, epoch)
    )
    assert before[-1] < share <= after[0]
    recipe = Recipe(epochs=epochs, milestones=(share,), decay=0.1, warmup_epochs=0)
    rates = [recipe.learning_rate_at(each) for each in (epoch - 0.01, epoch)]
    assert rates[1] == pytest.approx(0.1 * rates[0])


@pytest.mark.parametrize("sampler", ["instance", "class-balanced"])
def test_samples_only_from_the_subset_it_is_given(digits, sampler):
    tail = torch.nonzero(digits.train.labels >= 7).flatten()
    sampled, found = batches(opened(digits, subset=tail), sampler, batch_size=8)
    assert len(sampled.rows) == len(tail)
    assert min(int(batch.labels.min()) for _, batch in found) >= 7


@pytest.mark.parametrize("views", [(2, 5), (5, 2)])
def test_samples_only_views_that_every_cache_holds(digits, views, tmp_path):
    caches = tuple(cache_of(tmp_path / f"{each}.h5", digits, each) for each in views)
    loader = opened(digits, caches)
    for sampler in ("instance", "class-balanced"):
        sampled = torch.cat([loader.sample_epoch(sampler, 0, epoch).views for epoch in range(3)])
        assert sampled.unique().tolist() == [0, 1]


def test_a_loader_notices_that_its_cache_changed(digits, tmp_path):
    path = tmp_path / "cache.h5"
    loader = opened(digits, (cache_of(path, digits, 2),))
    loader.check_unchanged()
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"?")
    with pytest.raises(CacheDamaged) as found:
        loader.check_unchanged()
    assert str(path) in found.value.problem


def test_jitters_colours_after_the_view_where_it_is_told_to(digits):
    sampled, found = batches(opened(digits))
    _, changed = batches(opened(digits, jitter_seed=4))
    images, batch = found[0]
    assert torch.equal(changed[0][0], jitter(images, batch.rows, sampled.views[:64], 4))


def test_counts_the_bytes_of_images_and_of_the_outputs_that_the_method_needs(digits, tmp_path):
    train = digits.train
    cache = cache_of(tmp_path / "cache.h5", digits, 3)
    images, entries = train.images.resident.nbytes, 3 * len(train.labels)
    assert bytes_to_keep(train, (), frozenset()) == images
    assert bytes_to_keep(train, (cache,), LOGITS) == images + 2 * entries * CLASSES
    both = bytes_to_keep(train, (cache, cache), LOGITS | {"features"})
    assert both == images + 2 * 2 * entries * (CLASSES + WIDTH)


def test_uint8_outputs_are_read_on_the_host_and_need_no_bytes_of_a_gpu(digits, tmp_path):
    cache = cache_of(tmp_path / "cache.h5", digits, 3, "uint8")
    images = digits.train.images.resident.nbytes
    assert bytes_to_keep(digits.train, (cache,), LOGITS) == images


def test_on_the_cpu_nothing_is_copied(digits, tmp_path):
    cache = cache_of(tmp_path / "cache.h5", digits, 2)
    loader = open_loader(digits.train, POLICY, (cache,), LOGITS, CPU, resident=True)
    assert loader.pixels.data_ptr() == digits.train.images.resident.data_ptr()
    assert loader.outputs == (None,)
    assert loader.bytes_on_gpu == 0
