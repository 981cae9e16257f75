import pytest
import torch
from torchvision.transforms import v2

from ltkd_cli.views.policy import Policy, mixing, render
from ltkd_cli.views.steps.cutmix import Cutmix

DRAWN = 20_000


def first_views(count):
    rows = torch.arange(count)
    return rows, torch.ones_like(rows)


@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
def test_boxes_are_those_of_torchvision_for_the_same_share_and_centre(draws_of, size):
    """`r_x` and `r_y` are torchvision's only draws beside the share; here they are ours."""
    shares = torch.linspace(0, 1, 200).double()
    boxes = Cutmix().boxes(shares, size, draws_of(Cutmix, 200))
    centre = (draws_of(Cutmix, 200).uniforms(2) * torch.tensor(size)[:, None]).long().T
    for share, (y, x), box in zip(shares.tolist(), centre.tolist(), boxes.tolist(), strict=True):
        half = [int(0.5 * (1 - share) ** 0.5 * side) for side in size]
        top, left = max(y - half[0], 0), max(x - half[1], 0)
        bottom, right = min(y + half[0], size[0]), min(x + half[1], size[1])
        assert box == [top, left, bottom, right]


def test_boxes_are_distributed_as_torchvisions(assert_alike):
    step, image = v2.CutMix(alpha=1.0, num_classes=2), torch.zeros(2, 3, 32, 48)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        drawn = [step.make_params([image]) for _ in range(5_000)]
    found = mixing(*first_views(DRAWN), Policy("cutmix:1"), DRAWN, (32, 48))
    assert_alike(found.shares, torch.tensor([params["lam_adjusted"] for params in drawn]))
    boxes = torch.tensor([params["box"] for params in drawn])[:, [1, 0, 3, 2]]
    for side in range(4):
        assert_alike(found.boxes[:, side], boxes[:, side])


def test_the_partners_pixels_are_in_the_box_and_the_share_is_the_rest(photos):
    images = photos(64, 24, 40)
    rows, views = first_views(64)
    policy = Policy("cutmix:1", seed=3)
    seen = render(lambda wanted: images[wanted], rows, views, policy, 64)
    found = mixing(rows, views, policy, 64, (24, 40))
    for row, (top, left, bottom, right) in enumerate(found.boxes.tolist()):
        expected = images[row].clone()
        partner = images[seen.partner_rows[row]]
        expected[:, top:bottom, left:right] = partner[:, top:bottom, left:right]
        assert torch.equal(seen.images[row], expected)
        covered = (bottom - top) * (right - left) / (24 * 40)
        assert float(seen.shares[row]) == pytest.approx(1 - covered, abs=1e-6)
