import torch
import torchvision.transforms.v2.functional as F

from ltkd_cli.views.policy import Policy, view


def test_mirrors_as_torchvision_one_image_in_two(photos, assert_frequencies):
    image = photos(1, 8, 8)
    rows = torch.arange(20_000)
    seen = view(image.expand(20_000, 3, 8, 8), rows, torch.ones_like(rows), Policy("flip"))
    mirrored = (seen == F.horizontal_flip(image)).flatten(1).all(1)
    assert ((seen == image).flatten(1).all(1) | mirrored).all()
    assert_frequencies(mirrored.long(), [0.5, 0.5])
