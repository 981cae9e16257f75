"""RandomResizedCrop, the clean view that belongs to it, and the resize under both."""

import pytest
import torch
import torchvision.transforms.v2.functional as F
from torchvision.transforms import v2

from ltkd_cli.views import resize
from ltkd_cli.views.policy import Policy, view
from ltkd_cli.views.resize import MARGIN, crop_multiply, crop_resize, frame
from ltkd_cli.views.steps.rrc import RandomResizedCrop

DRAWN = 4_000
DIFFERING = 0.005
"""Share of pixels that may be one grey level away: torchvision's weights are finer beyond 1/4."""


def boxes_in(height, width, count):
    """Some boxes inside of an image, from a single pixel to all of it."""
    height_part = torch.linspace(1, height, count).long()
    width_part = torch.linspace(width, 1, count).long()
    top, left = (height - height_part) // 3, (width - width_part) // 2
    return torch.stack([top, left, height_part, width_part], 1)


@pytest.mark.parametrize("size", [(32, 32), (24, 40), (112, 112)])
@pytest.mark.parametrize("source", [(32, 32), (75, 50), (230, 341)])
def test_pixels_are_those_of_torchvision(photos, assert_close, source, size):
    images, boxes = photos(9, *source), boxes_in(*source, 9)
    expected = [
        F.resized_crop(image, *box.tolist(), list(size))
        for image, box in zip(images, boxes, strict=True)
    ]
    assert_close(crop_resize(images, boxes, size), torch.stack(expected), DIFFERING)


@pytest.mark.parametrize("size", [(32, 32), (24, 40), (112, 96)])
@pytest.mark.parametrize("source", [(1, 1), (32, 32), (75, 50), (345, 230)])
def test_pytorch_and_matrices_make_the_same_pixels(photos, source, size):
    """Also just below and above the largest scale that PyTorch is trusted with."""
    images, boxes = photos(60, *source), boxes_in(*source, 60)
    assert resize.pytorch_agrees()
    found = torch.cat([crop_resize([i], b[None], size) for i, b in zip(images, boxes, strict=True)])
    expected = crop_multiply(images, boxes, size)
    assert torch.equal(found, expected)
    assert torch.equal(crop_resize(images, boxes, size), expected)  # of small and of large boxes


@pytest.mark.parametrize("source", [(256, 340), (257, 256), (224, 224), (300, 224)])
def test_the_clean_view_of_an_image_of_the_right_scale_is_its_middle(photos, source):
    (photo,) = photos(1, *source)
    short = min(source)
    margin = short / 224
    top, left = (round((side - 224) / 2) for side in source)
    expected = photo[None, :, top : top + 224, left : left + 224]
    assert torch.equal(frame([photo], (224, 224), margin), expected)


def test_a_single_pixel_of_output_is_made_too(photos):
    images, boxes = photos(3, 9, 1), torch.tensor([[0, 0, 3, 1], [2, 0, 2, 1], [0, 0, 1, 1]])
    assert torch.equal(crop_resize(images, boxes, (1, 1)), crop_multiply(images, boxes, (1, 1)))


def test_scales_up_to_three_have_weights_of_one_unit():
    """The claim behind SAME_WEIGHTS: some weight is at least 1/4, so no unit is finer than 2^16."""
    random = torch.Generator().manual_seed(0)
    for count in (1, 2, 7, 24, 224):
        scale = 1 + 2 * torch.rand(200, generator=random, dtype=torch.float64)
        scale[0], scale[1] = resize.SAME_WEIGHTS, 1
        length = int(resize.SAME_WEIGHTS * count) + 1
        windows = resize.Windows(torch.zeros(200), scale, torch.zeros(200), scale * count)
        weights, unit = resize._weights(windows, count, length, torch.device("cpu"), torch.float64)
        assert ((weights / unit).amax((1, 2)) > 0.25).all()


def test_where_pytorch_resizes_in_another_way_it_is_not_used(photos, monkeypatch):
    images, boxes = photos(5, 40, 50), boxes_in(40, 50, 5)
    expected = crop_multiply(images, boxes, (32, 32))
    other = lambda part, size, **how: F.resize(part, size, antialias=False)  # noqa: E731
    monkeypatch.setattr(resize, "interpolate", other)
    resize.pytorch_agrees.cache_clear()
    try:
        assert not resize.pytorch_agrees()
        assert torch.equal(crop_resize(images, boxes, (32, 32)), expected)
    finally:
        resize.pytorch_agrees.cache_clear()


def test_an_area_of_the_outputs_size_is_copied(photos):
    images = photos(2, 40, 50)
    boxes = torch.tensor([[3, 4, 32, 32], [8, 18, 32, 32]])
    expected = torch.stack([images[0, :, 3:35, 4:36], images[1, :, 8:, 18:]])
    assert torch.equal(crop_resize(images, boxes, (32, 32)), expected)


@pytest.mark.parametrize("area", [0.08, 0.5])
@pytest.mark.parametrize("size", [(32, 32), (300, 200), (60, 400)])
def test_boxes_are_distributed_as_torchvisions(draws_of, assert_alike, size, area):
    step, image = RandomResizedCrop(area), torch.zeros(3, *size)
    reference = v2.RandomResizedCrop(32, scale=(area, 1))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        drawn = [reference.make_params([image]) for _ in range(DRAWN)]
    others = torch.tensor([[d["top"], d["left"], d["height"], d["width"]] for d in drawn])
    sides = torch.tensor(size).expand(DRAWN, 2)
    own = step.boxes(sides[:, 0], sides[:, 1], draws_of(step, DRAWN))
    for measure in (
        lambda b: b[:, 2] * b[:, 3],
        lambda b: b[:, 3] / b[:, 2],
        lambda b: b[:, 0],
        lambda b: b[:, 1],
    ):
        assert_alike(measure(own), measure(others))


def test_area_and_aspect_are_spread_evenly_where_everything_fits(draws_of, assert_uniform):
    """In an area of at most a half, no box of a large square is ever drawn again."""
    sides = torch.full((DRAWN,), 100_000)
    boxes = RandomResizedCrop(0.08).boxes(sides, sides, draws_of(RandomResizedCrop, DRAWN)).double()
    area, aspect = boxes[:, 2] * boxes[:, 3] / 1e10, boxes[:, 3] / boxes[:, 2]
    small = area < 0.5
    assert_uniform(area[small], 0.08, 0.5)
    assert_uniform(aspect[small].log(), -0.28769, 0.28769)


@pytest.mark.parametrize("size", [(4, 300), (300, 4), (1, 1)])
def test_the_centre_is_taken_where_no_box_fits(draws_of, size):
    step, image = RandomResizedCrop(1.0), torch.zeros(3, *size)
    sides = torch.tensor(size).expand(5, 2)
    found = step.boxes(sides[:, 0], sides[:, 1], draws_of(step, 5))
    expected = v2.RandomResizedCrop(32, scale=(1, 1)).make_params([image])
    wanted = [expected[name] for name in ("top", "left", "height", "width")]
    assert found.tolist() == [wanted] * 5


@pytest.mark.parametrize("source", [(256, 256), (300, 400), (500, 257), (341, 256)])
def test_view_zero_is_torchvisions_resize_and_centre_crop(photos, assert_close, source):
    image = photos(1, *source)
    expected = F.center_crop(F.resize(image, 256), [224, 224])
    zero = torch.zeros(1, dtype=torch.long)
    assert_close(view(image, zero, zero, Policy("rrc+flip"), (224, 224)), expected, DIFFERING)


def test_clean_views_of_photographs_change_only_with_the_version(photos):
    seen = frame(photos(2, 100, 75), (32, 32), MARGIN)
    weights = torch.arange(seen.numel()).remainder(97)
    assert (int((seen.flatten().long() * weights).sum()), resize.VERSION) == (39344363, 1)


def test_view_zero_of_an_image_of_the_outputs_size_is_the_image(photos):
    images = photos(4, 32, 32)
    rows = torch.arange(4)
    assert torch.equal(view(images, rows, 0 * rows, Policy("rrc")), images)
    assert torch.equal(view(list(images), rows, 0 * rows, Policy("rrc"), (32, 32)), images)


@pytest.mark.parametrize("source", [(230, 300), (224, 224), (240, 224)])
def test_view_zero_of_an_image_that_is_hardly_larger_is_its_centre(photos, source):
    image = photos(1, *source)
    expected = F.center_crop(image, [224, 224])
    assert torch.equal(frame(image, (224, 224), MARGIN), expected)


def test_view_zero_of_a_smaller_image_fills_the_output(photos, assert_close):
    image = photos(1, 20, 30)
    expected = F.center_crop(F.resize(image, 32), [32, 32])
    assert_close(frame(image, (32, 32), MARGIN), expected, DIFFERING)


def test_policies_without_rrc_show_the_whole_short_side(photos, assert_close):
    image = photos(1, 100, 130)
    expected = F.center_crop(F.resize(image, 32), [32, 32])
    zero = torch.zeros(1, dtype=torch.long)
    assert_close(view(image, zero, zero, Policy("crop"), (32, 32)), expected, DIFFERING)


def test_images_of_their_own_sizes_give_the_same_pixels_as_a_batch(photos):
    images, rows = photos(12, 50, 70), torch.arange(12)
    views = rows % 4
    policy = Policy("rrc+flip", seed=2)
    together = view(images, rows, views, policy, (32, 32))
    assert torch.equal(view(list(images), rows, views, policy, (32, 32)), together)


def test_a_view_does_not_depend_on_its_neighbours_sizes(photos):
    small, large = photos(1, 40, 60)[0], photos(1, 90, 70)[0]
    rows, views, policy = torch.tensor([3, 8]), torch.tensor([1, 0]), Policy("rrc")
    both = view([small, large], rows, views, policy, (32, 32))
    assert torch.equal(view([small], rows[:1], views[:1], policy, (32, 32)), both[:1])
    assert torch.equal(view([large], rows[1:], views[1:], policy, (32, 32)), both[1:])


def test_reduced_precision_of_matrix_products_changes_no_pixel(photos):
    images, rows = photos(8, 60, 60), torch.arange(8)
    exact = view(images, rows, rows + 1, Policy("rrc"), (32, 32))
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(view(images, rows, rows + 1, Policy("rrc"), (32, 32)), exact)
    finally:
        torch.set_float32_matmul_precision(before)
