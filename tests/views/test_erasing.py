import pytest
import torch
import torchvision.transforms.v2.functional as F
from torchvision.transforms import v2

from ltkd_cli.views.rectangles import blacken
from ltkd_cli.views.steps.erasing import RandomErasing

DRAWN = 4_000


def torchvisions_boxes(size, count):
    """Top, left, bottom and right of rectangles that torchvision draws."""
    step, image = v2.RandomErasing(p=1), torch.zeros(3, *size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        drawn = [step.make_params([image]) for _ in range(count)]
    return torch.tensor([[d["i"], d["j"], d["i"] + d["h"], d["j"] + d["w"]] for d in drawn])


def test_blackens_as_torchvision(photos, draws_of):
    step, images = RandomErasing(1.0), photos(100, 24, 40)
    boxes = step.boxes(draws_of(step, 100), (24, 40))
    expected = [
        F.erase(
            image, int(top), int(left), int(bottom - top), int(right - left), torch.zeros(1).byte()
        )
        for image, (top, left, bottom, right) in zip(images, boxes, strict=True)
    ]
    assert torch.equal(blacken(images, boxes), torch.stack(expected))


@pytest.mark.parametrize("size", [(32, 32), (24, 96)])
def test_rectangles_are_distributed_as_torchvisions(draws_of, assert_alike, size):
    step = RandomErasing(1.0)
    own, others = step.boxes(draws_of(step, DRAWN), size), torchvisions_boxes(size, DRAWN)
    for boxes in (own, others):
        assert (boxes >= 0).all()
        assert (boxes[:, 2:] <= torch.tensor(size)).all()
    for measure in (
        lambda b: (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]),
        lambda b: (b[:, 2] - b[:, 0]) / (b[:, 3] - b[:, 1]),
        lambda b: b[:, 0],
        lambda b: b[:, 3],
    ):
        assert_alike(measure(own), measure(others))


def test_erases_in_the_share_of_images_that_is_asked_for(draws_of, assert_frequencies):
    step = RandomErasing(0.25)
    erased = step.boxes(draws_of(step, DRAWN), (32, 32)).any(1)
    assert_frequencies(erased.long(), [0.75, 0.25])
