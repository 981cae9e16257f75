"""Images and checks that the tests of all steps share."""

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import chisquare, ks_2samp

from ltkd_cli.rng import counter_hash
from ltkd_cli.views.draws import Draws


def _photos(count, height, width, seed=0):
    """Smooth shapes with some noise, uint8 [count, 3, height, width], from whole numbers only."""
    coarse = counter_hash(seed, torch.arange(count * 3 * 25)) % 256
    coarse = coarse.double().view(count, 3, 5, 5)
    smooth = F.interpolate(coarse, (height, width), mode="nearest")
    noise = counter_hash(seed + 1, torch.arange(count * 3 * height * width)) % 25
    return (smooth * 0.9 + noise.double().view_as(smooth)).clamp(0, 255).to(torch.uint8)


@pytest.fixture
def photos():
    """photos(count, height, width): images that look alike on every machine."""
    return _photos


@pytest.fixture
def draws_of():
    """draws_of(step, count): the draws of view 1 of rows 0, 1, 2, ..."""

    def draws(step, count, seed=0):
        rows = torch.arange(count)
        return Draws(seed, rows, torch.ones_like(rows)).of(step.name())

    return draws


@pytest.fixture
def assert_frequencies():
    """assert_frequencies(values, shares): each value comes as often as its share says."""

    def check(values, shares):
        counts = torch.bincount(values, minlength=len(shares)).double()
        shares = torch.as_tensor(shares, dtype=torch.float64)
        assert counts[shares == 0].sum() == 0
        expected = shares[shares > 0] / shares.sum() * len(values)
        assert chisquare(counts[shares > 0], expected).pvalue > 1e-3

    return check


@pytest.fixture
def assert_uniform():
    """assert_uniform(values, low, high): values are spread evenly from low to high."""

    def check(values, low, high, bins=20):
        assert values.min() >= low
        assert values.max() <= high
        places = ((values - low) / (high - low) * bins).long().clamp(max=bins - 1)
        assert chisquare(torch.bincount(places, minlength=bins)).pvalue > 1e-3

    return check


@pytest.fixture
def assert_alike():
    """assert_alike(values, others): two samples may well be of one distribution."""

    def check(values, others):
        assert ks_2samp(values.double(), others.double()).pvalue > 1e-3

    return check


@pytest.fixture
def assert_close():
    """assert_close(images, others, differing): within a grey level, nearly everywhere equal."""

    def check(images, others, differing):
        distance = (images.int() - others.int()).abs()
        assert distance.max() <= 1
        assert (distance > 0).double().mean() <= differing

    return check
