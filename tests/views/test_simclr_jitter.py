import colorsys

import pytest
import torch

from ltkd_cli.views.colour import turn_hue
from ltkd_cli.views.policy import Policy, view
from ltkd_cli.views.steps.simclr_jitter import grey, jitter

IMAGES = torch.rand(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))
ROWS, VIEWS = torch.arange(64), torch.arange(64) % 5


def test_turning_the_hue_agrees_with_the_standard_library():
    share = torch.linspace(-0.5, 0.5, 64).view(64, 1, 1, 1)
    turned = turn_hue(IMAGES.double(), share.double())
    for b in range(0, 64, 7):
        pixel = IMAGES[b, :, 3, 4].double().tolist()
        hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
        expected = colorsys.hsv_to_rgb((hue + share[b].item()) % 1, saturation, value)
        assert turned[b, :, 3, 4].tolist() == pytest.approx(expected, abs=1e-6)


def test_grey_pixels_have_no_hue_to_turn():
    flat = torch.full((1, 3, 2, 2), 0.4)
    assert torch.allclose(turn_hue(flat, torch.full((1, 1, 1, 1), 0.3)), flat)


def test_does_not_depend_on_the_batch():
    together = jitter(IMAGES, ROWS, VIEWS, seed=0)
    assert torch.equal(jitter(IMAGES[5:6], ROWS[5:6], VIEWS[5:6], seed=0), together[5:6])


def test_stays_in_range_and_differs_by_seed_and_view():
    first = jitter(IMAGES, ROWS, VIEWS, seed=0)
    assert first.min() >= 0
    assert first.max() <= 1
    assert not torch.equal(first, jitter(IMAGES, ROWS, VIEWS, seed=1))
    assert not torch.equal(first, jitter(IMAGES, ROWS, VIEWS + 1, seed=0))


def test_leaves_a_fifth_alone_and_makes_a_fifth_grey():
    images = IMAGES[:1].expand(20_000, 3, 8, 8)
    rows = torch.arange(20_000)
    seen = jitter(images, rows, torch.ones_like(rows), seed=0)
    without_colour = (seen - grey(seen)).abs().amax((1, 2, 3)) < 1e-6
    clean = (seen == images).all(1).flatten(1).all(1)
    assert without_colour.float().mean() == pytest.approx(0.2, abs=0.015)
    assert clean.float().mean() == pytest.approx(0.2 * 0.8, abs=0.015)


def test_as_a_step_it_gives_the_same_colours_rounded_to_levels():
    pixels = (IMAGES * 255).byte()
    seen = view(pixels, ROWS, VIEWS, Policy("simclr-jitter", seed=3))
    expected = jitter(pixels.float() / 255, ROWS, VIEWS, seed=3) * 255
    shown = VIEWS != 0
    assert (seen[shown] - expected[shown]).abs().max() < 0.501
    assert torch.equal(seen[~shown], pixels[~shown])
