import pytest
import torch
import torchvision.transforms.v2.functional as F

from ltkd_cli.views.steps.jitter import Jitter, jitter

ALL = range(4)


def slow_jitter(image, amounts, order):
    adjust = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)
    for number in order.tolist():
        image = adjust[number](image, float(amounts[number]))
    return image


@pytest.mark.parametrize("number", ALL)
def test_each_property_changes_as_in_torchvision(photos, assert_close, draws_of, number):
    step = Jitter(0.8, 0.8, 0.8, 0.5)
    images = photos(64, 32, 32)
    amounts, order = step.amounts(draws_of(step, 64))
    neutral = torch.tensor([1.0, 1.0, 1.0, 0.0]).double()[:, None].expand(4, 64).clone()
    neutral[number] = amounts[number]
    expected = [
        slow_jitter(image, neutral[:, b], torch.tensor([number])) for b, image in enumerate(images)
    ]
    # Hues are floats on both sides; the rest is equal to the last bit.
    differing = 0.005 if number == 3 else 0.0001
    assert_close(jitter(images, neutral, order, [number]), torch.stack(expected), differing)


def test_all_four_follow_each_other_in_the_order_of_the_image(photos, draws_of):
    step = Jitter(0.4, 0.4, 0.4, 0.1)
    images = photos(64, 32, 32)
    amounts, order = step.amounts(draws_of(step, 64))
    expected = [slow_jitter(image, amounts[:, b], order[:, b]) for b, image in enumerate(images)]
    distance = (jitter(images, amounts, order, list(ALL)).int() - torch.stack(expected).int()).abs()
    assert distance.max() <= 4  # a level of one of the first steps, multiplied by the later ones
    assert (distance > 0).double().mean() < 0.01


def test_amounts_are_spread_evenly(draws_of, assert_uniform):
    step = Jitter(0.4, 1.5, 0.2, 0.3)
    amounts, _ = step.amounts(draws_of(step, 20_000))
    for own, (low, high) in zip(
        amounts, [(0.6, 1.4), (0, 2.5), (0.8, 1.2), (-0.3, 0.3)], strict=True
    ):
        assert_uniform(own, low, high)


def test_every_order_comes_equally_often(draws_of, assert_frequencies):
    _, order = Jitter(1.0, 1.0, 1.0, 0.1).amounts(draws_of(Jitter, 24_000))
    assert torch.equal(order.sort(0).values, torch.arange(4)[:, None].expand(4, 24_000))
    kinds = (order * torch.tensor([64, 16, 4, 1])[:, None]).sum(0)
    assert_frequencies(kinds.unique(return_inverse=True)[1], [1.0] * 24)


def test_one_argument_leaves_the_hue_alone():
    assert Jitter.read(["0.4"]) == Jitter(0.4, 0.4, 0.4, 0.0)
    assert Jitter.read(["0.4"]).changing() == [0, 1, 2]
    assert Jitter(0.4, 0.4, 0.4, 0.0).text == "jitter:0.4"
    assert Jitter(0.4, 0.4, 0.4, 0.1).text == "jitter:0.4:0.4:0.4:0.1"
