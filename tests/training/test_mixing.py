"""Mixup and CutMix: what the loss says of a mixture is what its pixels say."""

import pytest
import torch
import torch.nn.functional as F

from ltkd_cli.data.groups import group_classes
from ltkd_cli.methods.contract import Batch, Task
from ltkd_cli.methods.finding import find
from ltkd_cli.training.mixing import mixed_terms
from ltkd_cli.training.recipe import Recipe

IMAGES, CLASSES, SIZE = 24, 5, 16
LABELS = torch.arange(IMAGES) % CLASSES
LOGITS = torch.randn(IMAGES, CLASSES, generator=torch.Generator().manual_seed(0))
STREAMS = [(seed, 1, 4) for seed in range(6)]


def mixed(images, stream, **recipe):
    """What the network saw of the images, and the loss."""
    seen = []

    def network(batch):
        seen.append(batch.clone())
        return {"logits": LOGITS}

    counts = torch.bincount(LABELS)
    task = Task(counts, LABELS, group_classes(counts.tolist()), student_width=CLASSES)
    batch = Batch(LABELS, torch.arange(IMAGES) + 100, (), torch.tensor(0.5))
    recipe = Recipe(epochs=1, **recipe)
    terms = mixed_terms(network, find("ce")(task), images, batch, recipe, "float32", stream)
    return seen[0], float(terms["label"])


def expected_loss(share, partners):
    own, other = (F.cross_entropy(LOGITS, labels) for labels in (LABELS, LABELS[partners]))
    return pytest.approx(float(share * own + (1 - share) * other), rel=1e-5)


@pytest.mark.parametrize("stream", STREAMS)
def test_mixup_weighs_the_labels_as_it_weighs_the_pixels(stream):
    one_hot = torch.eye(IMAGES, 3 * SIZE * SIZE)  # image i is white in value i alone
    seen, loss = mixed(one_hot.view(IMAGES, 3, SIZE, SIZE), stream, mixup=1.0)
    weights = seen.flatten(1)[:, :IMAGES]  # of every image in every mixture
    torch.testing.assert_close(weights.sum(1), torch.ones(IMAGES))
    shares = weights.diagonal()
    others = weights - torch.diag(shares)
    partners = torch.where(shares < 1, others.argmax(1), torch.arange(IMAGES))
    share = float(shares.min())  # an image may be its own partner, with all of the weight
    assert 0 < share < 1
    assert sorted(partners.tolist()) == list(range(IMAGES))
    assert torch.equal((others > 0).sum(1), (shares < 1).long())
    assert loss == expected_loss(share, partners)


@pytest.mark.parametrize("stream", STREAMS)
def test_cutmix_weighs_the_labels_as_its_box_covers_the_pixels(stream):
    flat = torch.arange(IMAGES, dtype=torch.float32)  # image i is i all over
    images = flat[:, None, None, None].expand(IMAGES, 3, SIZE, SIZE)
    seen, loss = mixed(images, stream, cutmix=1.0)
    foreign = seen != images
    assert torch.equal(foreign[:, 0], foreign[:, 2])
    boxes = foreign[:, 0]
    partners = torch.where(boxes.any((1, 2)), seen.where(foreign, 0).amax((1, 2, 3)), flat).long()
    (box,) = boxes[boxes.any((1, 2))].unique(dim=0)  # one for the whole batch
    assert torch.equal(box, box.any(1)[:, None] & box.any(0))  # a rectangle
    assert bool((seen[foreign] == partners[:, None, None, None].expand_as(seen)[foreign]).all())
    assert sorted(partners.tolist()) == list(range(IMAGES))
    assert loss == expected_loss(1 - float(box.float().mean()), partners)


def test_unmixed_images_pass_as_they_are():
    images = torch.rand(IMAGES, 3, SIZE, SIZE)
    seen, loss = mixed(images, STREAMS[0])
    assert torch.equal(seen, images)
    assert loss == pytest.approx(float(F.cross_entropy(LOGITS, LABELS)))


def test_shares_and_partners_follow_from_the_stream():
    images = torch.rand(IMAGES, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    first, again, other = (mixed(images, stream, mixup=0.4)[0] for stream in (
        STREAMS[0], STREAMS[0], STREAMS[1]
    ))  # fmt: skip
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
