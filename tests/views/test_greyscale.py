import pytest
import torch
import torchvision.transforms.v2.functional as F

from ltkd_cli.views.policy import Policy, view
from ltkd_cli.views.steps.greyscale import greyscale


def test_pixels_are_those_of_torchvision(photos, assert_close):
    images = photos(64, 32, 32)
    # Where the weighted sum is a whole number, torchvision's float32 may come out just below.
    assert_close(greyscale(images), F.rgb_to_grayscale(images, 3), differing=0.001)


@pytest.mark.parametrize(("spec", "share"), [("greyscale", 0.1), ("greyscale:0.35", 0.35)])
def test_makes_the_share_grey_that_is_asked_for(photos, assert_frequencies, spec, share):
    image = photos(1, 4, 4)
    rows = torch.arange(20_000)
    seen = view(image.expand(20_000, 3, 4, 4), rows, torch.ones_like(rows), Policy(spec))
    changed = (seen != image).flatten(1).any(1)
    assert_frequencies(changed.long(), [1 - share, share])
