"""Image folders that cannot be used: one sentence, a hint, the right exit code."""

from contextlib import chdir

import numpy as np
import pytest
from driving import refused
from PIL import Image

COUNTS = {"cat": 6, "dog": 4, "owl": 2}


def write_images(folder, count, colour):
    folder.mkdir(parents=True)
    noise = np.random.default_rng(count)
    for number in range(count):
        pixels = noise.integers(0, 100, (16, 16, 3))
        pixels[..., colour] += 120
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")


@pytest.fixture
def images(empty):
    """An image folder, good as it is, of three classes."""
    for colour, (name, count) in enumerate(COUNTS.items()):
        write_images(empty / "images/train" / name, count, colour)
        write_images(empty / "images/test" / name, 2, colour)
    return empty / "images"


def test_a_good_folder_can_be_taught_exported_and_distilled(ltkd, images):
    small = ("--model", "resnet8", "--epochs", 1, "--batch-size", 4)
    assert ltkd("teach", "--data", "images", *small).code == 0
    assert ltkd("export-logits", "--views", 2).code == 0
    assert ltkd("distill", *small).code == 0
    assert ltkd("eval").code == 0


def test_a_run_finds_its_images_from_any_folder(ltkd, images, empty):
    small = ("--model", "resnet8", "--epochs", 1, "--batch-size", 4)
    assert ltkd("teach", "--data", "images", *small).code == 0
    (empty / "elsewhere").mkdir()
    with chdir(empty / "elsewhere"):
        assert ltkd("eval", "--runs", "../runs").code == 0
        assert ltkd("export-logits", "--runs", "../runs", "--views", 1).code == 0


def test_a_class_without_test_images_is_said(ltkd, images):
    for image in (images / "test/owl").iterdir():
        image.unlink()
    said = ltkd("teach", "--data", "images", "--model", "resnet8", "--epochs", 1)
    warnings = [line for line in said.err.splitlines() if line.startswith("warning: ")]
    assert (said.code, [line for line in warnings if "owl" in line]) == (0, warnings)


def test_a_plot_without_an_ending_is_a_png_of_that_name(ltkd, images):
    assert ltkd("data", "images", "--plot", "counts").code == 0
    assert (images.parent / "counts").read_bytes().startswith(b"\x89PNG")


def test_a_missing_folder_is_named_with_what_there_is(ltkd, empty):
    said = ltkd("teach", "--data", "nowhere")
    assert refused(said, 1, "'nowhere'", "digits-lt, cifar10-lt, cifar100-lt")


def test_an_empty_folder_is_told_how_to_be_filled(ltkd, empty):
    (empty / "images").mkdir()
    assert refused(ltkd("teach", "--data", "images"), 1, "images", "images/train/CLASS/IMAGE")


def test_a_class_in_test_but_not_in_train_is_a_mismatch(ltkd, images):
    write_images(images / "test/zebra", 1, 0)
    assert refused(ltkd("teach", "--data", "images"), 3, "zebra")


def test_every_unreadable_image_is_named(ltkd, images):
    (images / "train/cat/0.png").write_bytes(b"not an image")
    (images / "test/owl/1.png").write_bytes(b"")
    said = ltkd("teach", "--data", "images")
    assert refused(said, 1, "images/train/cat/0.png")
    assert refused(said, 1, "images/test/owl/1.png")


def test_missing_cifar_files_are_looked_for_where_the_hint_says(ltkd, empty):
    said = ltkd("teach", "--data", "cifar10-lt", "--data-root", "there")
    assert refused(said, 1, "there/cifar-10-batches-py", "--download")


def test_no_bad_folder_leaves_a_run(ltkd, images):
    (images / "train/cat/0.png").write_bytes(b"not an image")
    ltkd("teach", "--data", "images")
    assert not (images.parent / "runs").exists()


def test_a_teacher_of_other_classes_cannot_answer_for_these(ltkd, images, told):
    said = ltkd("export-logits", told / "runs/0001-teach-ce-resnet8", "--data", "images")
    assert refused(said, 3, "0001-teach-ce-resnet8")


def test_a_teacher_of_the_same_number_of_other_classes_is_refused_too(ltkd, images):
    small = ("--model", "resnet8", "--epochs", 1, "--batch-size", 4)
    assert ltkd("teach", "--data", "images", *small).code == 0
    for split in ("train", "test"):
        (images / split / "cat").rename(images / split / "pug")
    said = ltkd("export-logits")
    assert (said.code, said.out) == (3, "")
    assert "'cat'" in said.err


@pytest.mark.parametrize("name", ["counts.png", "counts.svg"])
def test_the_histogram_is_drawn(ltkd, images, name):
    said = ltkd("data", "images", "--plot", name)
    assert said.code == 0
    assert (images.parent / name).stat().st_size > 1000
    assert name in said.err


@pytest.mark.parametrize("name", ["counts.xyz", "nowhere/counts.png"])
def test_a_histogram_that_cannot_be_drawn_is_a_usage_error(ltkd, images, name):
    assert refused(ltkd("data", "images", "--plot", name), 2, name, "--plot")
