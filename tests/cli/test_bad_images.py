"""Image folders that cannot be used: one sentence, a hint, the right exit code."""

import json
import os
import shutil
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest
from decoded_files import end_of_pixels, file_of
from driving import refused
from PIL import Image
from run_examples import reseal

from ltkd_cli import runs
from ltkd_cli.data import DataSpec, load

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


def test_the_home_of_a_user_who_does_not_exist_is_no_folder(ltkd, empty):
    assert refused(ltkd("data", "~nobody_of_that_name/images"), 1, "~nobody_of_that_name")


def test_what_may_not_be_looked_at_is_an_error_with_its_name(ltkd, empty, monkeypatch):
    def forbidden(path, **kwargs):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "exists", forbidden)
    assert refused(ltkd("data", "locked/images"), 1, "locked/images", "ls -ld locked/images")


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


SMALL = ("--model", "resnet8", "--epochs", 1, "--batch-size", 4)


def write_manifest(images):
    rows = [
        f"{path.relative_to(images)},{path.parent.name},{path.relative_to(images).parts[0]}\n"
        for path in sorted(images.rglob("*.png"))
    ]
    (images / "pets.csv").write_text("path,label,split\n" + "".join(rows))
    return images / "pets.csv"


def write_lists(images):
    for split in ("train", "test"):
        paths = sorted((images / split).rglob("*.png"))
        names = sorted({path.parent.name for path in paths})
        lines = [f"{p.relative_to(images)} {names.index(p.parent.name)}\n" for p in paths]
        (images / f"{split}.txt").write_text("".join(lines))
    return images / "train.txt"


def test_a_manifest_can_be_taught_exported_and_distilled_from_any_folder(ltkd, images, empty):
    write_manifest(images)
    assert ltkd("teach", "--data", "images/pets.csv", *SMALL).code == 0
    (empty / "elsewhere").mkdir()
    with chdir(empty / "elsewhere"):
        assert ltkd("export-logits", "--runs", "../runs", "--views", 2).code == 0
        assert ltkd("distill", *SMALL, "--runs", "../runs").code == 0
        assert ltkd("eval", "--runs", "../runs").code == 0


def test_a_dataset_folder_is_found_again_from_any_folder(ltkd, empty):
    written = Path(__file__).parents[1] / "data" / "huggingface" / "pets"
    shutil.copytree(written, empty / "pets")
    assert ltkd("teach", "--data", "hf:pets", *SMALL).code == 0
    (empty / "elsewhere").mkdir()
    with chdir(empty / "elsewhere"):
        assert ltkd("eval", "--runs", "../runs").code == 0


def test_test_manifest_is_another_name_of_test_list(ltkd, images):
    write_manifest(images)
    (images / "holdout.csv").write_text("path,label\ntest/owl/0.png,owl\n")
    said = ltkd("data", "images/pets.csv", "--test-manifest", "images/holdout.csv", "--json")
    assert json.loads(said.out)["test_images"] == 1


def damage_the_store(count):
    """Zeroes the second half of the stored pixels of the split with `count` images."""
    path = file_of(count)
    whole, end = path.read_bytes(), end_of_pixels(path)
    path.write_bytes(whole[: end // 2] + bytes(end - end // 2) + whole[end:])
    return path


def test_damaged_decoded_images_end_with_4_and_are_decoded_anew(ltkd, images):
    assert ltkd("teach", "--data", "images", *SMALL).code == 0
    scores = ltkd("eval", "--json").out
    path = damage_the_store(6)
    assert refused(ltkd("eval", "--json"), 4, path.name)
    assert ltkd("eval", "--json").out == scores


def test_damaged_training_images_never_train(ltkd, images):
    assert ltkd("data", "images").code == 0
    path = damage_the_store(12)
    assert refused(ltkd("teach", "--data", "images", *SMALL), 4, path.name)


def test_replaced_images_are_noticed_by_eval_rebalance_and_resume(ltkd, images):
    assert ltkd("teach", "--data", "images", *SMALL).code == 0
    assert "not those" not in ltkd("eval").err
    for number, path in enumerate(sorted((images / "test").rglob("*.png"))):
        Image.new("RGB", (16, 16), (number, 0, 0)).save(path)
    assert "not those" in ltkd("eval").err
    for number, path in enumerate(sorted((images / "train").rglob("*.png"))):
        Image.new("RGB", (16, 16), (number, 0, 99)).save(path)
    assert refused(ltkd("rebalance", "--strategy", "tau-norm"), 3, "training images")


def test_every_command_that_reads_images_says_what_is_odd_about_them(ltkd, images):
    train_list = write_lists(images)
    same = ("--data", train_list, "--test-list", train_list)
    for command in (
        ("data", train_list, "--test-list", train_list),
        ("teach", *same, *SMALL),
        ("export-logits", "--views", 1),
    ):
        said = ltkd(*command)
        assert said.code == 0
        assert "All 12 test images" in said.err, command
    document = json.loads(ltkd("data", train_list, "--test-list", train_list, "--json").out)
    assert len(document["warnings"]) == 1


def test_the_histogram_is_sorted_by_class_size(ltkd, images):
    (images / "train/cat").rename(images / "train/zebra")
    (images / "test/cat").rename(images / "test/zebra")
    said = ltkd("data", "images")
    bars = [line.split() for line in said.out.splitlines() if "█" in line]
    assert [(bar[0], bar[-1]) for bar in bars] == [("zebra", "6"), ("dog", "4"), ("owl", "2")]


def test_the_test_images_behind_the_rarest_third_are_counted(ltkd, images):
    (line,) = [row for row in ltkd("data", "images").out.splitlines() if "rarest third" in row]
    assert line.endswith("classes 1, test images that tell their accuracy 2")


@pytest.mark.parametrize("name", ["pl\udcffot.png", "pl\udcffot", "plöt.png"])
def test_a_plot_may_have_any_name(ltkd, images, name):
    assert ltkd("data", "images", "--plot", name).code == 0
    assert (images.parent / name).stat().st_size > 1000


@pytest.mark.parametrize("name", ["a$b$c_", "猫", "x" * 150])
def test_class_names_of_every_kind_are_drawn(ltkd, images, name):
    for split in ("train", "test"):
        (images / split / "cat").rename(images / split / name)
    assert ltkd("data", "images", "--plot", "counts.png").code == 0


def fifo(path):
    os.mkfifo(path)


ODD = {
    "a class that is not UTF-8": (lambda p: (p / "train/d\udcffg").mkdir(), "images", 1, r"d\xffg"),
    "a class with a line end": (lambda p: (p / "train/a\nb").mkdir(), "images", 1, r"a\x0ab"),
    "a pipe as image": (lambda p: fifo(p / "train/cat/9.png"), "images", 1, "train/cat/9.png"),
    "a pipe as list": (lambda p: fifo(p / "x_train.txt"), "images/x_train.txt", 1, "no list"),
    "a pipe as manifest": (lambda p: fifo(p / "x.csv"), "images/x.csv", 1, "no regular file"),
    "a pipe as JSON": (lambda p: fifo(p / "x.json"), "images/x.json", 1, "no regular file"),
    "a pipe as archive": (lambda p: fifo(p / "x.npz"), "images/x.npz", 1, "no regular file"),
    "a pipe as Parquet": (lambda p: fifo(p / "x.parquet"), "images/x.parquet", 1, "no regular"),
    "a manifest that is not there": (lambda p: None, "images/gone.csv", 1, "no such file"),
    "a dataset that is not there": (lambda p: None, "hf:images/gone", 1, "no dataset folder"),
    "a folder that is no dataset": (lambda p: None, "hf:images", 1, "images/dataset_dict.json"),
    "a path that is not UTF-8": (lambda p: None, "im\udcffages", 2, r"im\xffages"),
    "an empty name": (lambda p: None, "", 1, "no folder train"),
}


@pytest.mark.parametrize(("prepare", "data", "code", "words"), ODD.values(), ids=ODD)
@pytest.mark.parametrize("command", ["data", "doctor"])
def test_odd_image_sets_end_with_a_sentence_and_a_hint(
    ltkd, images, prepare, data, code, words, command
):
    prepare(images)
    assert refused(ltkd(command, data), code, words)


def test_a_run_of_0_1_0_knows_its_images(ltkd, images):
    """Its run.json holds the fingerprints of then, which looked at a sample of the files."""
    assert ltkd("teach", "--data", "images", *SMALL).code == 0
    path = next((images.parent / "runs").glob("*/run.json"))
    record = json.loads(path.read_text())
    data = load(DataSpec(str(images)))
    record["data"].update(train=data.train.fingerprint_v1, test=data.test.fingerprint_v1)
    reseal(path, record)
    assert "not those" not in ltkd("eval").err
    assert "other images" not in ltkd("export-logits", "--views", 1).err
    assert ltkd("rebalance", "--strategy", "tau-norm").code == 0
    Image.new("RGB", (16, 16)).save(images / "test/owl/0.png")
    assert "not those" in ltkd("eval").err


def test_a_run_of_0_1_0_is_resumed_and_knows_the_fingerprints_of_now_then(ltkd, images):
    assert ltkd("teach", "--data", "images", *SMALL).code == 0
    run, data = runs.find(Path("runs"), "1"), load(DataSpec(str(images)))
    now = run.record["data"]
    then = {"train": data.train.fingerprint_v1, "test": data.test.fingerprint_v1}
    assert then != {name: now[name] for name in then}
    run.update(status="interrupted", data={**now, **then})
    assert ltkd("teach", "--resume", "1").code == 0
    assert runs.find(Path("runs"), "1").record["data"] == now
