"""What holds for every step that there is; a new one is tested by its line in FROZEN."""

import hashlib
from pathlib import Path

import pytest
import torch
from pretended_gpu import GPU, pretend

from ltkd_cli.views.draws import send
from ltkd_cli.views.finding import all_names, find
from ltkd_cli.views.policy import Policy, render
from ltkd_cli.views.spec import SHORT_NAMES

PAGE = Path(__file__).parents[2] / "docs" / "views.md"

FROZEN = {
    "none": ({"resize": 1}, "bdac0e93696debef"),
    "crop": ({"resize": 1, "crop": 1}, "c99ba7d1ed8c271b"),
    "crop:3": ({"resize": 1, "crop": 1}, "aeda0bc2a380e7ac"),
    "flip": ({"resize": 1, "flip": 1}, "520eb08dba3348b3"),
    "rrc": ({"resize": 1, "rrc": 1}, "df52baee9c396e0a"),
    "rrc:0.5": ({"resize": 1, "rrc": 1}, "8b9318504896ff97"),
    "rotation:30": ({"resize": 1, "rotation": 1}, "e06df9d395e59bfc"),
    "jitter:0.4": ({"resize": 1, "jitter": 1}, "d1d346fe5bb8a4ae"),
    "jitter:0.3:0.5:0.2:0.1": ({"resize": 1, "jitter": 1}, "382c3a82212dc9c7"),
    "simclr-jitter": ({"resize": 1, "simclr-jitter": 1}, "dd24ea30143c4c6d"),
    "greyscale:0.5": ({"resize": 1, "greyscale": 1}, "8371c3e56e78bab5"),
    "autoaugment:cifar10": ({"resize": 1, "autoaugment": 1}, "e885cb0685af3a99"),
    "autoaugment:imagenet": ({"resize": 1, "autoaugment": 1}, "4e7a9429c0921f4c"),
    "autoaugment:svhn": ({"resize": 1, "autoaugment": 1}, "fb069950fd397a91"),
    "randaugment:2:9": ({"resize": 1, "randaugment": 1}, "9778602d675200aa"),
    "randaugment:3:27:0.5": ({"resize": 1, "randaugment": 1}, "8afdb55b193fb776"),
    "trivialaugment": ({"resize": 1, "trivialaugment": 1}, "a0d8d296f3886148"),
    "cutout:16": ({"resize": 1, "cutout": 1}, "d4b1e85fea33d6fd"),
    "erasing:0.5": ({"resize": 1, "erasing": 1}, "9e57dfffb3896c07"),
    "mixup:0.2": ({"resize": 1, "mixup": 1}, "1088c9286daae8f7"),
    "cutmix:1:0.5": ({"resize": 1, "cutmix": 1}, "9f64cf280f9444ea"),
    "crop+flip+mixup:0.8+cutmix:1": (
        {"resize": 1, "crop": 1, "flip": 1, "mixup": 1, "cutmix": 1},
        "140e39cbc819443d",
    ),
}
"""Policy: versions of its steps, and the hash of its pixels. They change together or not at all."""

ALL = [*FROZEN, *SHORT_NAMES, "cifar-strong+mixup:0.8+cutmix:1"]


def seen(policy, images, rows, views, device="cpu"):
    def gather(wanted):
        return images[wanted].to(device)

    return render(gather, rows, views, policy, len(images)).images.cpu()


def test_every_step_is_frozen():
    frozen = {name for spec in FROZEN for name in Policy(spec).versions}
    assert frozen == {"resize", *all_names()}


@pytest.mark.parametrize("spec", FROZEN)
def test_pixels_change_only_with_the_version(photos, spec):
    rows = torch.arange(48)
    pixels = seen(Policy(spec, seed=1), photos(48, 24, 32), rows, 1 + rows % 5)
    digest = hashlib.sha256(pixels.numpy().tobytes()).hexdigest()[:16]
    assert (Policy(spec).versions, digest) == FROZEN[spec], "other pixels need another version"


@pytest.mark.parametrize("spec", ALL)
def test_does_not_depend_on_batch_order_or_threads(photos, spec):
    policy, images = Policy(spec, seed=7), photos(40, 48, 48)
    rows, views = torch.arange(40), torch.arange(40) % 7
    together = seen(policy, images, rows, views)
    order = torch.arange(40) * 17 % 40
    assert torch.equal(seen(policy, images, rows[order], views[order]), together[order])
    for part in torch.split(rows, 13):
        assert torch.equal(seen(policy, images, part, views[part]), together[part])
    try:
        torch.set_num_threads(2)
        assert torch.equal(seen(policy, images, rows, views), together)
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize("spec", ALL)
def test_view_zero_is_the_clean_image(photos, spec):
    images, rows = photos(20, 32, 32), torch.arange(20)
    assert torch.equal(seen(Policy(spec), images, rows, torch.zeros_like(rows)), images)


@pytest.mark.parametrize("spec", [spec for spec in ALL if spec != "none"])
def test_another_seed_or_view_gives_other_pixels(photos, spec):
    images, rows = photos(60, 32, 32), torch.arange(60)
    views = torch.ones_like(rows)
    first = seen(Policy(spec), images, rows, views)
    assert not torch.equal(first, images)
    assert not torch.equal(first, seen(Policy(spec, seed=1), images, rows, views))
    assert not torch.equal(first, seen(Policy(spec), images, rows, views + 1))


@pytest.mark.parametrize("spec", ALL)
def test_images_that_are_given_stay_as_they_are(photos, spec):
    images, rows = photos(20, 32, 32), torch.arange(20)
    before = images.clone()
    seen(Policy(spec), images, rows, torch.ones_like(rows))
    assert torch.equal(images, before)


@pytest.mark.parametrize("spec", ALL)
def test_is_within_a_grey_level_on_a_gpu(photos, spec):
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    images, rows = photos(64, 32, 32), torch.arange(64)
    views = rows % 7
    here = seen(Policy(spec), images, rows, views)
    there = seen(Policy(spec), images, rows, views, "cuda")
    distance = (here.int() - there.int()).abs()
    assert (distance <= 1).double().mean() >= 0.999


@pytest.mark.parametrize("spec", ALL)
def test_a_gpu_never_waits_for_the_host_nor_the_host_for_it(photos, monkeypatch, spec):
    images, rows = photos(40, 24, 32), torch.arange(40)
    with pretend(monkeypatch) as gpu:
        there, gpu.strict = images.to(GPU), True

        def gather(wanted):
            return there[send(wanted, GPU)]

        shown = render(gather, rows, rows % 5, Policy(spec), len(images))
    assert shown.images.device == GPU
    assert (shown.images.shape, shown.images.dtype) == (images.shape, torch.uint8)
    assert {shown.partner_rows.device.type, shown.shares.device.type} == {"cpu"}


@pytest.mark.parametrize("name", all_names())
def test_the_page_on_views_says_how_a_step_is_typed_and_its_version(name):
    step = find(name)
    assert f"| `{step.usage}` | {step.version} |" in PAGE.read_text().replace("\\|", "|")


@pytest.mark.parametrize("name", all_names())
def test_a_step_names_its_source(name):
    assert "Source: " in find(name).__doc__
    assert find(name).usage.startswith(name)


def test_the_page_on_views_has_every_short_name():
    text = PAGE.read_text()
    for name, spec in SHORT_NAMES.items():
        assert f"| `{name}` | `{spec}` |" in text
