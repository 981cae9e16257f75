import json

import pytest
import torch

from ltkd_cli.errors import CacheError, CacheMismatch, UsageError
from ltkd_cli.rng import counter_hash
from ltkd_cli.views.finding import all_names
from ltkd_cli.views.policy import POLICIES, Policy, view
from ltkd_cli.views.subbatch import parts

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
    policy = Policy(name, seed=3)
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
def test_view_zero_is_the_clean_image(name):
    assert torch.equal(view(IMAGES, ROWS, torch.zeros_like(ROWS), Policy(name)), IMAGES)


def test_does_not_depend_on_the_batch_or_its_order():
    policy = Policy("crop-flip")
    together = view(IMAGES, ROWS, VIEWS, policy)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(1))
    assert torch.equal(view(IMAGES[order], ROWS[order], VIEWS[order], policy), together[order])
    assert torch.equal(view(IMAGES[5:6], ROWS[5:6], VIEWS[5:6], policy), together[5:6])


def test_another_seed_or_row_gives_other_pixels():
    numbers = torch.ones_like(ROWS)
    first = view(IMAGES, ROWS, numbers, Policy("crop-flip", seed=0))
    for other in (
        view(IMAGES, ROWS, numbers, Policy("crop-flip", seed=1)),
        view(IMAGES, ROWS + 64, numbers, Policy("crop-flip", seed=0)),
    ):
        assert (first != other).flatten(1).any(1).float().mean() > 0.9


def test_shifts_and_mirrors_are_uniform():
    pixel = torch.zeros(20_000, 3, 32, 32, dtype=torch.uint8)
    pixel[:, :, 16, 4] = 255
    rows = torch.arange(20_000)
    seen = view(pixel, rows, torch.ones_like(rows), Policy("crop-flip"))
    y, x = seen[:, 0].flatten(1).argmax(1) // 32, seen[:, 0].flatten(1).argmax(1) % 32
    assert sorted(set(y.tolist())) == list(range(12, 21))
    assert torch.bincount(y - 12).float().div(20_000).sub(1 / 9).abs().max() < 0.01
    assert (x > 15).float().mean().sub(0.5).abs() < 0.02  # at 0 to 8, or mirrored at 23 to 31


def test_is_the_same_on_a_gpu():
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    policy = Policy("crop-flip")
    there = view(IMAGES.cuda(), ROWS.cuda(), VIEWS.cuda(), policy)
    assert torch.equal(there.cpu(), view(IMAGES, ROWS, VIEWS, policy))


def test_frozen_pixels_keep_old_caches_true():
    ramp = torch.arange(3 * 32 * 32).remainder(251).byte().view(1, 3, 32, 32)
    seen = view(ramp, torch.tensor([14]), torch.tensor([5]), Policy("crop-flip", seed=1))
    weights = torch.arange(3 * 32 * 32).remainder(97)
    assert int((seen.flatten().long() * weights).sum()) == 15868482


@pytest.mark.parametrize(
    ("typed", "spec"),
    [
        ("none", "none"),
        ("crop", "crop"),
        ("crop-flip", "crop+flip"),
        ("cifar", "crop+flip"),
        ("cifar-strong", "crop+flip+autoaugment:cifar10+cutout:16"),
        ("cifar+mixup:0.20", "crop+flip+mixup:0.2:1"),
        ("crop:4", "crop:4"),
        ("rrc", "rrc:0.08"),
        ("imagenet", "rrc:0.08+flip+jitter:0.4"),
        ("jitter:0.4:0.4:0.4:0", "jitter:0.4"),
        ("randaugment:2:9:1.0", "randaugment:2:9:1"),
        ("randaugment", "randaugment:2:9:1"),
        ("erasing:0.25", "erasing:0.25"),
        ("rotation:15.5", "rotation:15.5"),
    ],
)
def test_every_policy_has_one_spelling_which_reads_as_itself(typed, spec):
    policy = Policy(typed, seed=3)
    assert policy.spec == spec
    assert policy == Policy(spec, 3)


@pytest.mark.parametrize(
    "typed",
    [
        *("", "+", "crop++flip", "crpo", "crop+nosuch:3", "none:1", "contract", "Crop"),
        *("crop:0", "crop:1.5", "crop:x", "crop:4:4", "crop:"),
        *("flip:1", "rotation", "rotation:181", "rotation:nan", "rotation:inf"),
        *("rrc:0", "rrc:1.1", "rrc:-1", "flip+rrc", "crop+rrc"),
        *(
            "jitter",
            "jitter:-1",
            "jitter:0.4:0.4",
            "jitter:0.1:0.1:0.1:0.6",
            "jitter:1e39",
            f"crop:1{310 * '0'}",
            "greyscale:2",
        ),
        *("autoaugment:cifar100", "autoaugment:imagenet:2", "randaugment:0", "randaugment:2:31"),
        *("trivialaugment:1", "cutout", "cutout:1", "cutout:-16", "erasing:1.01"),
        *("crop+crop", "flip+cifar", "mixup+crop", "cutmix+mixup+cutmix"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_list_of_steps(typed):
    with pytest.raises(UsageError) as error:
        Policy(typed)
    for name in all_names():
        assert name in error.value.problem


def test_says_which_step_and_which_argument_are_wrong():
    with pytest.raises(UsageError) as error:
        Policy("crop+flip+cutout:many")
    assert "cutout:many" in error.value.problem
    assert "'many'" in error.value.problem


def test_knows_whether_its_views_are_mixtures_and_whether_they_differ():
    assert Policy("cifar+mixup").is_mixed
    assert not Policy("cifar-strong").is_mixed
    assert Policy("flip").has_views
    assert not Policy("none").has_views


def test_is_the_same_after_a_round_trip_through_a_cache():
    policy = Policy("rrc:0.2+flip+jitter:0.123456789:0.2:0.3:0.1+mixup:0.2", seed=9)
    record = json.loads(json.dumps(policy.as_json()))
    assert Policy.from_json(record, "cache.h5") == policy
    assert set(record["versions"]) == {"resize", "rrc", "flip", "jitter", "mixup"}


@pytest.mark.parametrize("name", ["crop", "resize"])
@pytest.mark.parametrize("version", [0, 2, None, "1"])
def test_a_cache_of_other_pixels_is_refused(name, version):
    record = Policy("cifar").as_json()
    record["versions"] |= {name: version}
    with pytest.raises(CacheMismatch) as error:
        Policy.from_json(record, "old.h5")
    assert "old.h5" in error.value.problem
    assert name in error.value.problem


def test_a_cache_with_a_step_from_elsewhere_is_refused():
    record = {"spec": "crop+swirl:3", "seed": 0, "versions": {"crop": 1, "swirl": 1}}
    with pytest.raises(CacheMismatch) as error:
        Policy.from_json(record, "new.h5")
    assert "new.h5" in error.value.problem
    assert "swirl" in error.value.problem


@pytest.mark.parametrize(
    "record",
    [None, [], "crop", {}, {"spec": 3, "seed": 0, "versions": {}}, {"spec": "crop", "seed": "0"},
     {"spec": "crop", "seed": 0, "versions": 1}, {"spec": "crop", "seed": True, "versions": {}}],
)  # fmt: skip
def test_a_record_that_is_no_policy_is_an_error_that_names_the_file(record):
    with pytest.raises(CacheError) as error:
        Policy.from_json(record, "broken.h5")
    assert "broken.h5" in error.value.problem


def test_photographs_without_an_output_size_are_refused():
    with pytest.raises(ValueError, match="size"):
        view([IMAGES[0]], ROWS[:1], VIEWS[:1], Policy("rrc"))


@pytest.mark.parametrize("spec", ["cifar-strong", "imagenet-strong", "simclr-jitter"])
def test_images_that_are_worked_on_in_several_parts_are_what_they_are_alone(spec):
    images = torch.randint(256, (8, 3, 200, 240), generator=torch.Generator().manual_seed(0))
    images, rows = images.to(torch.uint8), torch.arange(8)
    assert len([*parts(images)]) > 1
    whole = view(images, rows, rows, Policy(spec), (192, 192))
    ones = rows[:, None]
    alone = [view(images[one], one, one, Policy(spec), (192, 192)) for one in ones]
    assert torch.equal(whole, torch.cat(alone))
