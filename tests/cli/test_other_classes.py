"""`export-logits` for images whose classes the teacher does not know."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from driving import advised, refused
from foreign_weights import NETWORK, write
from PIL import Image

from ltkd_cli.runs import find

TEACHER = "0001-teach-ce-resnet8"
STATISTICS = ("--mean", "0.466,0.471,0.38", "--std", "0.195,0.194,0.192")


def write_pets(folder):
    """An image folder of three classes, with four images of each to train on and two to test on."""
    noise = np.random.default_rng(0)
    for split, number in (("train", 4), ("test", 2)):
        for name in ("cat", "dog", "owl"):
            place = folder / "pets" / split / name
            place.mkdir(parents=True)
            for each in range(number):
                pixels = noise.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{each}.png")


def last(said):
    """The same answer without what was told before its error."""
    return type(said)(said.code, said.out, said.err[said.err.index("error: ") :])


@pytest.mark.parametrize("file", ["1000.pt", "headless.pt"])
def test_the_advised_head_is_trained_on_the_images_that_were_given(ltkd, empty, file):
    write_pets(empty)
    write("1000.pt", classes=1000)
    held = torch.load("1000.pt", weights_only=True)["state_dict"]
    torch.save({name: each for name, each in held.items() if "fc." not in name}, "headless.pt")
    weights = ("--model", NETWORK, "--weights", file, *STATISTICS)
    images = ("--data", "pets", "--image-size", 32, "--groups", "rank")
    said = ltkd("export-logits", *weights, *images)
    assert said.code in (3, 4)
    taught = ltkd(*advised(said), "--feature-views", 1, "--epochs", 1)
    assert taught.code == 0, taught.err
    settings = find(Path("runs"), "1").settings
    assert settings["data"]["data"] == str(empty / "pets")
    assert settings["data"]["image_size"] == 32
    assert settings["data"]["groups"] == "rank"
    assert settings["weights"] == str(empty / file)
    assert [*settings["mean"]] == [0.466, 0.471, 0.38]


@pytest.mark.parametrize("teacher", ["weights", "run", "mean"])
def test_other_classes_are_refused_before_any_image_is_read(ltkd, story, teacher):
    write_pets(story)
    (story / "pets/train/cat/0.png").write_bytes(b"no image")
    if teacher == "weights":
        write("1000.pt", classes=1000)
        given = ("--model", NETWORK, "--weights", "1000.pt")
    elif teacher == "run":
        given = (TEACHER,)
    else:
        shutil.copytree(f"runs/{TEACHER}", "runs/copy")
        given = (TEACHER, "copy")
    said = ltkd("export-logits", *given, "--data", "pets")
    assert refused(last(said), 3, "classes")
