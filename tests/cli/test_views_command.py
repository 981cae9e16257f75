"""`ltkd views`: a picture of what a policy does."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont

from ltkd_cli.console.contact_sheet import GAP, LABELS, LINE, choose_rows, class_of
from ltkd_cli.data import DataSpec, load
from ltkd_cli.views.policy import Policy, render


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder as the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pixels_of(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_the_picture_holds_the_views_that_the_policy_gives(ltkd, here):
    said = ltkd("views", "--policy", "crop+flip+cutout:4", "--view-seed", 5, "--images", 3,
                "--views", 4, "--out", "seen.png")  # fmt: skip
    assert said.code == 0
    assert "seen.png" in said.out
    train = load(DataSpec()).train
    rows = choose_rows(train, 3)
    side = 16 * 6  # digits have 16 pixels, and are enlarged to 96
    sheet = pixels_of(here / "seen.png")
    assert sheet.shape == (2 * (LINE + GAP) + 3 * (side + GAP), LABELS + 4 * (side + GAP), 3)
    top = sheet.shape[0] - 3 * (side + GAP)
    for view in range(4):
        views = torch.full_like(rows, view)
        policy = Policy("crop+flip+cutout:4", 5)
        wanted = render(train.images.gather, rows, views, policy, len(train.labels)).images
        for place in range(3):
            y, x = top + place * (side + GAP), LABELS + view * (side + GAP)
            cell = sheet[y : y + side : 6, x : x + side : 6].transpose(2, 0, 1)
            assert (cell == wanted[place].numpy()).all()


@pytest.mark.parametrize("policy", ["cifar-strong+mixup:0.8+cutmix:1", "imagenet-strong", "none"])
@pytest.mark.parametrize("name", ["views.png", "views.jpg"])
def test_any_policy_can_be_drawn(ltkd, here, policy, name):
    said = ltkd("views", "--policy", policy, "--out", name, "--images", 2, "--views", 3)
    assert said.code == 0
    assert pixels_of(here / name).shape[1] > 3 * 96


def test_a_class_whose_name_the_font_lacks_is_called_by_its_number():
    train = load(DataSpec()).train
    names = ("cat", "\ue000", "a b", "猫", *train.class_names[4:])
    labelled = replace(train, class_names=names)
    pen = ImageDraw.Draw(Image.new("RGB", (8, 8)))
    pen.font = ImageFont.load_default(13)
    rows = [int((train.labels == label).nonzero()[0]) for label in range(4)]
    assert [class_of(pen, labelled, row) for row in rows] == ["cat", "class 1", "a b", "class 3"]


def test_draws_the_image_sets_own_policy_by_default(ltkd, here):
    said = ltkd("views")
    assert said.code == 0
    assert "crop" in said.out
    assert (here / "views.png").exists()


def test_the_images_are_of_all_classes_from_the_largest_to_the_smallest():
    train = load(DataSpec()).train
    counts = torch.tensor(train.class_counts())
    for count in (1, 4, 10, 23):
        rows = choose_rows(train, count)
        assert len(set(rows.tolist())) == count
        sizes = counts[train.labels[rows]]
        assert torch.equal(sizes, sizes.sort(descending=True).values)
        assert len(set(train.labels[rows].tolist())) == min(count, 10)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--policy", "crop+swirl"), "swirl"),
        (("--policy", "cutout"), "cutout:PIXELS"),
        (("--images", "0"), "--images"),
        (("--views", "65"), "--views"),
        (("--out", "views"), "views"),
        (("--out", "views.txt"), "views.txt"),
        (("--out", "views.blp"), "views.blp"),
        (("--out", "missing/views.png"), "missing/views.png"),
    ],
)
def test_what_cannot_be_drawn_is_refused_by_name(ltkd, here, arguments, named):
    said = ltkd("views", *arguments)
    assert said.code == 2
    assert named in said.err
    assert "try:" in said.err
    assert not list(here.iterdir())
