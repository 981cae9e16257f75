"""What an error about a cache says to type, typed: it makes the very cache that was asked for."""

from pathlib import Path

import pytest
from driving import advised, ctrl_c, datasets

from ltkd_cli.cache import Cache, CacheWriter

ODD = ("--views", 2, "--policy", "crop:2+flip", "--view-seed", 5, "--dtype", "float32",
       "--no-features", "--precision", "bfloat16")  # fmt: skip


@pytest.mark.parametrize("options", [ODD, ("--views", 1)], ids=["odd", "plain"])
@pytest.mark.parametrize("output", [(), ("-o", "mine.h5")], ids=["in the run", "elsewhere"])
def test_the_advice_on_a_damaged_cache_makes_it_again(ltkd, story, options, output):
    assert ltkd("export-logits", "1", *options, *output).code == 0
    (path,) = [*story.glob("mine.h5"), *story.glob("runs/*/cache-*-[12].h5")]
    before = datasets(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 255
    path.write_bytes(content)
    # A newer teacher must not take the place of the one that the cache is from.
    tiny = ("--model", "resnet8", "--epochs", 1, "--evaluate-every", 0)
    assert ltkd("teach", *tiny, "--seed", 7).code == 0
    said = ltkd("cache", "verify", str(path))
    assert said.code == 4
    assert ltkd(*advised(said)).code == 0
    assert datasets(path) == before


def test_a_cache_in_a_run_s_folder_that_cannot_be_read_is_of_that_run(ltkd, story, cache):
    cache.write_bytes(b"")
    assert advised(ltkd("distill", "--cache", str(cache)))[1] == str(cache.parent)


def test_elsewhere_the_run_is_left_to_the_user(ltkd, story):
    Path("mine.h5").touch()
    said = ltkd("distill", "--cache", "mine.h5")
    assert advised(said) == ["export-logits", "RUN", "--output", "mine.h5", "--force"]


def test_the_advice_on_an_unfinished_export_goes_on_with_it(ltkd, story):
    assert ltkd("export-logits", "1", *ODD, "-o", "whole.h5").code == 0
    whole = Cache.open(Path("whole.h5"))
    with CacheWriter(Path("c.h5"), whole.layout, whole.attributes) as begun:
        begun.write(0, whole.tensor("logits")[:3].float().numpy(), None)
    said = ltkd("distill", "--cache", "c.h5")
    assert said.code == 1
    assert ltkd(*advised(said)).code == 0
    assert datasets("c.h5") == datasets("whole.h5")


@pytest.mark.parametrize("options", [ODD, ("--views", 2)], ids=["odd", "plain"])
def test_a_run_whose_cache_is_gone_says_how_to_make_it_and_goes_on(ltkd, story, options):
    assert ltkd("export-logits", "1", *options, "-o", "gone.h5").code == 0
    student = (
        "distill",
        "--cache",
        "gone.h5",
        "--model",
        "resnet8",
        "--epochs",
        3,
        "--log-every",
        1,
    )
    assert ltkd(*student, "--name", "parted", stderr=ctrl_c("epoch 1: ")).code == 130
    before = datasets("gone.h5")
    Path("gone.h5").unlink()
    # A newer teacher must not take the place of the one that the cache is from.
    assert ltkd("teach", "--model", "resnet8", "--epochs", 1, "--evaluate-every", 0).code == 0
    said = ltkd("distill", "--resume", "parted")
    assert said.code == 1
    assert "ltkd distill --resume runs/parted --cache PLACE" in said.err.splitlines()[-1]
    assert ltkd(*advised(said)).code == 0
    assert datasets("gone.h5") == before
    assert ltkd("distill", "--resume", "parted").code == 0


def test_a_mistyped_cache_is_answered_by_the_one_that_exists(ltkd, story, cache):
    mistyped = cache.with_name("cache-crop-3.h5")
    said = ltkd("distill", "--cache", str(mistyped))
    assert said.code == 1
    assert str(cache) in said.err.splitlines()[-1]


def test_damaged_features_of_a_frozen_backbone_are_removed_and_not_missed(ltkd, story):
    teacher = "runs/0001-teach-ce-resnet8/model.safetensors"
    frozen = ("teach", "--model", "resnet8", "--weights", teacher, "--freeze", "--epochs", 2)
    assert ltkd(*frozen, "--name", "frozen").code == 0
    path = Path("runs/frozen/features.hdf5")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    said = ltkd("cache", "verify", str(path))
    assert said.code == 4
    assert said.err.splitlines()[-1].startswith("try: rm -- ")
    path.unlink()
    assert ltkd("rebalance", "frozen", "--strategy", "crt", "--epochs", 2).code == 0
