import pytest
import torch

from ltkd_cli.rng import counter_hash
from ltkd_cli.views.policy import POLICIES, ViewPolicy, view

IMAGES = torch.randint(1, 256, (64, 3, 32, 32), generator=torch.Generator().manual_seed(0)).byte()
ROWS = torch.arange(64) + 1000
VIEWS = torch.arange(64) % 7


def slow_view(image, row, number, policy):
    """The definition for one image: pad, cut out, mirror."""
    height, width = image.shape[1:]
    pad_y, pad_x = round(height / 8), round(width / 8)
    if policy.name == "none" or number == 0:
        return image
    bits = counter_hash(policy.seed, torch.tensor([row]), torch.tensor([number])).item()
    y, x = bits % (2 * pad_y + 1), (bits >> 20) % (2 * pad_x + 1)
    canvas = torch.zeros(3, height + 2 * pad_y, width + 2 * pad_x, dtype=torch.uint8)
    canvas[:, pad_y : pad_y + height, pad_x : pad_x + width] = image
    cut = canvas[:, y : y + height, x : x + width]
    if policy.name == "crop-flip" and (bits >> 40) % 2:
        cut = cut.flip(2)
    return cut


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("size", [(32, 32), (16, 16), (24, 40), (8, 8)])
def test_agrees_with_the_definition_image_by_image(name, size):
    policy = ViewPolicy(name, seed=3)
    images = (
        IMAGES[..., : size[0], : size[1]] if size != (24, 40) else IMAGES.new_ones(64, 3, *size)
    )
    images = images.contiguous()
    expected = [
        slow_view(image, int(row), int(number), policy)
        for image, row, number in zip(images, ROWS, VIEWS, strict=True)
    ]
    assert torch.equal(view(images, ROWS, VIEWS, policy), torch.stack(expected))


@pytest.mark.parametrize("name", POLICIES)
def test_view_zero_is_the_untouched_image(name):
    assert torch.equal(view(IMAGES, ROWS, torch.zeros_like(ROWS), ViewPolicy(name)), IMAGES)


def test_does_not_depend_on_the_batch_or_its_order():
    policy = ViewPolicy("crop-flip")
    together = view(IMAGES, ROWS, VIEWS, policy)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(1))
    assert torch.equal(view(IMAGES[order], ROWS[order], VIEWS[order], policy), together[order])
    assert torch.equal(view(IMAGES[5:6], ROWS[5:6], VIEWS[5:6], policy), together[5:6])


def test_another_seed_or_row_gives_other_pixels():
    numbers = torch.ones_like(ROWS)
    first = view(IMAGES, ROWS, numbers, ViewPolicy("crop-flip", seed=0))
    for other in (
        view(IMAGES, ROWS, numbers, ViewPolicy("crop-flip", seed=1)),
        view(IMAGES, ROWS + 64, numbers, ViewPolicy("crop-flip", seed=0)),
    ):
        assert (first != other).flatten(1).any(1).float().mean() > 0.9


def test_shifts_and_mirrors_are_uniform():
    pixel = torch.zeros(20_000, 3, 32, 32, dtype=torch.uint8)
    pixel[:, :, 16, 4] = 255
    rows = torch.arange(20_000)
    seen = view(pixel, rows, torch.ones_like(rows), ViewPolicy("crop-flip"))
    y, x = seen[:, 0].flatten(1).argmax(1) // 32, seen[:, 0].flatten(1).argmax(1) % 32
    assert sorted(set(y.tolist())) == list(range(12, 21))
    assert torch.bincount(y - 12).float().div(20_000).sub(1 / 9).abs().max() < 0.01
    assert (x > 15).float().mean().sub(0.5).abs() < 0.02  # at 0 to 8, or mirrored at 23 to 31


def test_is_the_same_on_a_gpu():
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    policy = ViewPolicy("crop-flip")
    there = view(IMAGES.cuda(), ROWS.cuda(), VIEWS.cuda(), policy)
    assert torch.equal(there.cpu(), view(IMAGES, ROWS, VIEWS, policy))


def test_frozen_pixels_keep_old_caches_true():
    ramp = torch.arange(3 * 32 * 32).remainder(251).byte().view(1, 3, 32, 32)
    seen = view(ramp, torch.tensor([14]), torch.tensor([5]), ViewPolicy("crop-flip", seed=1))
    weights = torch.arange(3 * 32 * 32).remainder(97)
    assert int((seen.flatten().long() * weights).sum()) == 15868482
