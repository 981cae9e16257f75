"""`ltkd doctor`: what is wrong with an image set, what is merely odd, and the exit code."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from ltkd_cli.commands.doctor import _interval
from ltkd_cli.metrics import wilson


@pytest.fixture
def pets(empty):
    """A sound image folder of three classes: 24, 12 and 6 to train on, 12 of each to test on."""
    seed = 0
    for split, counts in (("train", (24, 12, 6)), ("test", (12, 12, 12))):
        for name, count in zip(("cat", "dog", "owl"), counts, strict=True):
            for number in range(count):
                seed += 1
                write(empty / "pets" / split / name / f"{number:02}.png", seed)
    return empty / "pets"


def write(path, seed, size=(16, 16), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.new(mode, size) if mode == "I;16" else Image.fromarray(noise).convert(mode)
    image.save(path)


@pytest.fixture
def examined(ltkd):
    """Exit code and findings, by their kind, of `ltkd doctor`."""

    def examine(*arguments):
        said = ltkd("doctor", *arguments, "--json")
        document = json.loads(said.out)
        assert document["problems"] == sum(each["serious"] for each in document["findings"])
        return said.code, {each["kind"]: each for each in document["findings"]}

    return examine


def test_a_sound_set_ends_with_0(pets, examined):
    code, findings = examined("pets")
    assert code == 0
    assert set(findings) == {"groups", "tail-interval"}


@pytest.mark.parametrize("name", ["digits-lt"])
def test_built_in_sets_are_examined_as_well(examined, empty, name):
    code, findings = examined(name)
    assert (code, list(findings)) == (0, ["tail-interval"])


def spoil(path):
    path.write_bytes(path.read_bytes()[:60])


def test_unreadable_images_are_a_problem_and_are_named(pets, examined):
    spoil(pets / "train/cat/03.png")
    spoil(pets / "test/owl/01.png")
    code, findings = examined("pets")
    assert code == 1
    assert findings["unreadable"]["serious"]
    names = [text.split(" ")[0] for text in findings["unreadable"]["images"]]
    assert names == ["train/cat/03.png", "test/owl/01.png"]


def test_sound_images_that_are_refused_are_a_problem_of_their_own(pets, examined):
    Image.new("F", (16, 16), 300.0).save(pets / "train/cat/depth.tiff")
    code, findings = examined("pets")
    assert (code, findings["refused"]["serious"]) == (1, True)
    assert findings["refused"]["images"][0].startswith("train/cat/depth.tiff")
    assert "replace" not in findings["refused"]["advice"]
    assert "unreadable" not in findings


def test_a_test_image_that_is_trained_on_is_a_problem(pets, examined):
    shutil.copy(pets / "train/cat/03.png", pets / "test/cat/again.png")
    code, findings = examined("pets")
    assert code == 1
    assert "train/cat/03.png" in findings["shared"]["text"]
    assert "test/cat/again.png" in findings["shared"]["text"]


def test_an_image_in_two_classes_is_a_problem(pets, examined):
    shutil.copy(pets / "train/cat/03.png", pets / "train/dog/again.png")
    code, findings = examined("pets")
    assert (code, findings["two-labels"]["serious"]) == (1, True)
    assert "shared" not in findings


def test_a_copy_in_one_class_is_merely_noted(pets, examined):
    shutil.copy(pets / "train/cat/03.png", pets / "train/cat/again.png")
    code, findings = examined("pets")
    assert (code, findings["repeated"]["serious"]) == (0, False)


def test_classes_without_images_are_a_problem_of_each_split(pets, examined):
    for path in (pets / "test/owl").iterdir():
        path.unlink()
    for path in (pets / "train/dog").iterdir():
        path.unlink()
    code, findings = examined("pets")
    assert code == 1
    assert "owl" in findings["untested-class"]["text"]
    assert "dog" in findings["empty-class"]["text"]


def test_classes_of_few_images_are_noted(pets, examined):
    for path in sorted((pets / "train/owl").iterdir())[3:]:
        path.unlink()
    for path in sorted((pets / "test/cat").iterdir())[3:]:
        path.unlink()
    code, findings = examined("pets")
    assert code == 0
    assert "owl" in findings["near-empty-class"]["text"]
    assert "cat" in findings["barely-tested-class"]["text"]


@pytest.mark.parametrize(
    ("kind", "file", "size", "mode"),
    [
        ("tiny", "odd.png", (3, 3), "RGB"),
        ("elongated", "odd.png", (64, 16), "RGB"),
        ("grey", "odd.png", (16, 16), "L"),
        ("cmyk", "odd.jpg", (16, 16), "CMYK"),
        ("deep", "odd.png", (16, 16), "I;16"),
    ],
)
def test_odd_images_are_noted_and_named(pets, examined, kind, file, size, mode):
    write(pets / "train/dog" / file, 500, size, mode)
    code, findings = examined("pets", "--image-size", 16)
    assert code == 0
    assert findings[kind]["images"] == [f"train/dog/{file}"]
    assert not findings[kind]["serious"]


def test_few_tiny_images_are_to_be_left_out_and_many_to_be_shown_at_their_own_size(pets, examined):
    write(pets / "train/dog/tiny.png", 500, (3, 5))
    assert examined("pets", "--image-size", 16)[1]["tiny"]["advice"] == "leave them out"
    for number in range(12):
        write(pets / f"train/cat/{number:02}.png", 600 + number, (7, 9))
    assert examined("pets", "--image-size", 16)[1]["tiny"]["advice"] == "--image-size 7"


@pytest.mark.parametrize(("size", "told"), [(64, False), (65, True)])
def test_a_network_for_photographs_is_advised_where_images_are_large(pets, examined, size, told):
    found = examined("pets", "--image-size", size)[1]
    assert ("network" in found) == told
    assert not told or "--model torchvision/resnet18" in found["network"]["advice"]


def test_a_set_that_is_grey_throughout_is_not_odd(pets, examined):
    for path in pets.rglob("*.png"):
        Image.open(path).convert("L").save(path)
    assert "grey" not in examined("pets")[1]


def test_an_animation_is_noted(pets, examined):
    frames = [Image.new("RGB", (16, 16), (shade, 0, 0)) for shade in (10, 200)]
    frames[0].save(pets / "train/dog/odd.gif", save_all=True, append_images=frames[1:])
    assert examined("pets")[1]["animated"]["images"] == ["train/dog/odd.gif"]


def test_files_that_are_left_out_are_noted(pets, examined):
    (pets / "train/dog/odd.avif").write_bytes(b"content")
    code, findings = examined("pets")
    assert code == 0
    assert "1 .avif" in findings["left-out"]["text"]


def test_the_interval_is_that_of_the_tails_test_images(pets, examined, ltkd):
    low, high = json.loads(ltkd("doctor", "pets", "--json").out)["tail_interval"]
    # Wilson's interval of 6 of 12
    assert (low, high) == pytest.approx((0.2538, 0.7462), abs=1e-4)
    assert "±24.6 points" in examined("pets")[1]["tail-interval"]["text"]


def test_the_interval_of_a_tail_of_unequal_classes_is_mostly_that_of_the_smallest():
    low, high = _interval([4, 0, 100])
    assert (low, high) == wilson(0.5, 2**2 / (1 / 4 + 1 / 100))
    assert high - low > 0.4  # all images alike would give 0.19
    assert _interval([0, 0]) is None


def test_the_groups_that_counting_leaves_empty_are_named(pets, examined):
    assert "head" in examined("pets")[1]["groups"]["text"]
    assert examined("pets", "--groups", "counts")[1]["groups"]["advice"] == "--groups rank"


def test_the_subset_is_examined_where_one_is_asked_for(pets, ltkd):
    document = json.loads(ltkd("doctor", "pets", "--imbalance", 12, "--json").out)
    assert [each["train"] for each in document["classes"]] == [24, 6, 2]


def test_people_read_problems_first_and_how_many_there_are(pets, ltkd):
    spoil(pets / "train/cat/03.png")
    said = ltkd("doctor", "pets")
    lines = said.out.splitlines()
    found = [line.split(":")[0] for line in lines if line.startswith(("problem:", "note:"))]
    assert said.code == 1
    assert found == sorted(found, reverse=True)
    assert found[0] == "problem"
    assert lines[-1] == "1 problem found"


def test_a_set_that_is_not_there_is_an_error(ltkd, empty):
    assert ltkd("doctor", "nowhere").code == 1
    assert ltkd("doctor", "nowhere", "--json").out == ""
