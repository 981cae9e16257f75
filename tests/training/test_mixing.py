"""Mixup and CutMix: the share that labels get is the share that pixels have."""

import pytest
import torch

from ltkd_cli.methods.contract import Batch
from ltkd_cli.training.mixing import mix
from ltkd_cli.training.recipe import Recipe

IMAGES, CLASSES, SIZE = 24, 5, 16
LABELS = torch.arange(IMAGES) % CLASSES
STREAMS = [(seed, 1, 4) for seed in range(6)]


def mixed(images, stream, **options):
    """Images, partner labels and share of a batch."""
    batch = Batch(LABELS, torch.arange(IMAGES) + 100, (), torch.tensor(0.5))
    return mix(images, batch, Recipe(epochs=1, **options), stream)


@pytest.mark.parametrize("stream", STREAMS)
def test_mixup_weighs_the_labels_as_it_weighs_the_pixels(stream):
    one_hot = torch.eye(IMAGES, 3 * SIZE * SIZE)  # image i is white in value i alone
    seen, partner_labels, own = mixed(one_hot.view(IMAGES, 3, SIZE, SIZE), stream, mixup=1.0)
    weights = seen.flatten(1)[:, :IMAGES]  # of every image in every mixture
    torch.testing.assert_close(weights.sum(1), torch.ones(IMAGES))
    shares = weights.diagonal()
    others = weights - torch.diag(shares)
    partners = torch.where(shares < 1, others.argmax(1), torch.arange(IMAGES))
    share = float(shares.min())  # an image may be its own partner, with all of the weight
    assert 0 < share < 1
    assert sorted(partners.tolist()) == list(range(IMAGES))
    assert torch.equal((others > 0).sum(1), (shares < 1).long())
    assert own == pytest.approx(share)
    assert torch.equal(partner_labels, LABELS[partners])


@pytest.mark.parametrize("stream", STREAMS)
def test_cutmix_weighs_the_labels_as_its_box_covers_the_pixels(stream):
    flat = torch.arange(IMAGES, dtype=torch.float32)  # image i is i all over
    images = flat[:, None, None, None].expand(IMAGES, 3, SIZE, SIZE)
    seen, partner_labels, own = mixed(images, stream, cutmix=1.0)
    foreign = seen != images
    assert torch.equal(foreign[:, 0], foreign[:, 2])
    boxes = foreign[:, 0]
    partners = torch.where(boxes.any((1, 2)), seen.where(foreign, 0).amax((1, 2, 3)), flat).long()
    (box,) = boxes[boxes.any((1, 2))].unique(dim=0)  # one for the whole batch
    assert torch.equal(box, box.any(1)[:, None] & box.any(0))  # a rectangle
    assert bool((seen[foreign] == partners[:, None, None, None].expand_as(seen)[foreign]).all())
    assert sorted(partners.tolist()) == list(range(IMAGES))
    assert own == pytest.approx(1 - float(box.float().mean()))
    assert torch.equal(partner_labels, LABELS[partners])


def test_unmixed_images_pass_as_they_are():
    images = torch.rand(IMAGES, 3, SIZE, SIZE)
    seen, partner_labels, own = mixed(images, STREAMS[0])
    assert torch.equal(seen, images)
    assert torch.equal(partner_labels, LABELS)
    assert own == 1


def test_shares_and_partners_follow_from_the_stream():
    images = torch.rand(IMAGES, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    streams = (STREAMS[0], STREAMS[0], STREAMS[1])
    first, again, other = (mixed(images, stream, mixup=0.4) for stream in streams)
    assert torch.equal(first.images, again.images)
    assert first.share == again.share != other.share
    assert not torch.equal(first.images, other.images)
