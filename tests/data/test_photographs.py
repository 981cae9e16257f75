"""Photographs keep their aspect ratio, in a store of one byte range each or as files."""

import struct
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from decoded_files import HEADER, end_of_pixels, file_of, paths
from mixed_sizes import SHORT, SIZE, write_photographs
from PIL import Image
from torchvision.transforms.v2 import functional

from ltkd_cli.data import DataSpec, decoded, load
from ltkd_cli.data.decode import dimensions, reduced
from ltkd_cli.data.imageset import fingerprint
from ltkd_cli.errors import DataDamaged, DataError, UsageError
from ltkd_cli.views.policy import Policy, view

IMAGES = 24
"""Training images that `write_photographs` writes."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_photographs(tmp_path_factory.mktemp("photographs") / "mixed")


@pytest.fixture
def spec(folder):
    return DataSpec(str(folder), image_size=SIZE)


def everything(images):
    return images.gather(torch.arange(len(images)))


def same(left, right):
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def test_images_keep_their_shape_with_a_short_side_of_at_most_what_is_asked_for(folder, spec):
    images = load(spec).train.images
    files = sorted((folder / "train").rglob("*.jpg"))
    expected = [reduced(dimensions(str(path)), SHORT) for path in files]
    found = [(image.shape[2], image.shape[1]) for image in everything(images)]
    assert found == expected
    assert {min(size) for size in found} >= {1, 20, 33, 36}
    assert images.size == (SIZE, SIZE)
    assert images.resident is None


@pytest.mark.parametrize("large", [(400, 300), (300, 900), (240, 260), (224, 300), (200, 150)])
def test_the_clean_view_is_what_outputs_of_other_programs_are_to_be_computed_from(tmp_path, large):
    folder = write_photographs(tmp_path / "large", train=(1, 1), test=1, sizes=[large])
    page = (Path(__file__).parents[2] / "docs/foreign_outputs.md").read_text()
    given = {}
    exec(page.partition("```python\n")[2].partition("```")[0], given)
    images = load(DataSpec(str(folder), image_size=224)).train.images
    row = torch.tensor([0])
    shown = view(images.gather(row), row, 0 * row, Policy("none"), images.size)[0].int()
    with Image.open(folder / "train/class0/000.jpg") as image:
        expected = functional.pil_to_tensor(given["transform"](image)).int()
        usual = functional.center_crop(functional.resize(image, 256), [224, 224])
    assert (shown - expected).abs().max() <= 2
    assert (shown - functional.pil_to_tensor(usual).int()).abs().double().mean() > 2


def test_store_and_files_give_the_same_pixels(spec):
    kept, files = (load(replace(spec, store=how)) for how in ("always", "never"))
    for split in ("train", "test"):
        left, right = getattr(kept, split), getattr(files, split)
        assert same(everything(left.images), everything(right.images))
        assert left.fingerprint == right.fingerprint
    assert (kept.mean, kept.std) == (files.mean, files.std)


def test_any_rows_are_read_in_their_order(spec):
    images = load(spec).train.images
    rows = torch.tensor([23, 0, 5, 23])
    assert same(images.gather(rows), [everything(images)[row] for row in rows.tolist()])


def test_auto_stores_what_fits_and_says_how_large_it_is(spec):
    first, second = load(spec).kept, load(spec).kept
    assert (first.stored, first.why, second.why) == (True, "fits", "there")
    assert (first.images, first.short_side) == (IMAGES + 12, SHORT)
    pixels = sum(end_of_pixels(path) - HEADER for path in paths())
    assert first.size == pytest.approx(pixels, rel=0.01)


@pytest.mark.parametrize(("how", "why"), [("never", "asked"), ("auto", "limit")])
def test_nothing_is_written_where_files_are_decoded_on_demand(spec, how, why, monkeypatch):
    monkeypatch.setattr(decoded, "STORED_LIMIT", 0)
    kept = load(replace(spec, store=how)).kept
    assert (kept.stored, kept.why) == (False, why)
    assert not paths()


def test_always_stores_beyond_the_limit(spec, monkeypatch):
    monkeypatch.setattr(decoded, "STORED_LIMIT", 0)
    kept = load(replace(spec, store="always")).kept
    assert (kept.stored, kept.why) == (True, "asked")
    assert load(spec).kept.why == "there"  # what is there is used


@pytest.mark.parametrize("changes", [{"store": "sometimes"}, {"short_side": 31}, {"short_side": 0}])
def test_values_that_do_not_fit_are_refused(spec, changes):
    with pytest.raises(UsageError) as caught:
        load(replace(spec, **changes))
    assert str(next(iter(changes.values()))) in caught.value.problem


@pytest.mark.parametrize("short", [20, 223])
def test_a_short_side_below_the_size_that_photographs_get_by_default_is_refused(folder, short):
    with pytest.raises(UsageError, match=rf"{short} pixels is below .* 224 pixels") as caught:
        load(DataSpec(str(folder), short_side=short))
    assert "--short-side 256" in caught.value.hint


def test_the_advice_for_the_largest_image_size_is_a_short_side_that_there_is(folder):
    with pytest.raises(UsageError) as caught:
        load(DataSpec(str(folder), image_size=4096, short_side=100))
    assert caught.value.hint == "--short-side 4096"


def test_another_short_side_means_other_pixels_and_another_fingerprint(spec):
    usual, large = load(spec).train, load(replace(spec, short_side=58)).train
    assert max(min(image.shape[1:]) for image in everything(large.images)) == 58
    assert large.fingerprint != usual.fingerprint
    named = load(replace(spec, short_side=SHORT)).train
    assert named.fingerprint == usual.fingerprint


@pytest.mark.parametrize("row", [0, 7, IMAGES - 1])
def test_one_flipped_bit_of_an_image_is_noticed(spec, row):
    images = load(spec).train.images
    start = 16 + 32 + 8 + sum(image.numel() for image in everything(images)[:row])
    path = file_of(IMAGES)
    whole = bytearray(path.read_bytes())
    whole[start + 1] ^= 4
    path.write_bytes(whole)
    images = load(spec).train.images
    others = [each for each in range(IMAGES) if each != row]
    assert len(images.gather(torch.tensor(others))) == IMAGES - 1
    with pytest.raises(DataDamaged, match=f"first in row {row};") as caught:
        images.gather(torch.tensor([row]))
    assert str(path) in caught.value.problem
    assert not path.exists()  # the next start decodes anew
    assert same(
        everything(load(spec).train.images),
        everything(load(replace(spec, store="never")).train.images),
    )


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"ltkd images 0" + whole[13:],
        lambda whole: whole[:20] + b"?" + whole[21:],
        lambda whole: whole[:50] + b"?" + whole[51:],
        lambda whole: whole[:-40] + b"?" + whole[-39:],
        lambda whole: whole[:-1] + b"?",
        lambda whole: whole[:-1],
        lambda whole: whole + b"?",
        lambda whole: whole[:60],
        lambda whole: b"",
    ],
    ids=["version", "kind", "count", "table", "seal", "short", "long", "cut", "empty"],
)
def test_a_store_that_is_not_what_was_written_is_made_anew(spec, damage):
    expected = [image.clone() for image in everything(load(spec).train.images)]
    path = file_of(IMAGES)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert path.read_bytes() != whole
    assert same(everything(load(spec).train.images), expected)
    assert path.read_bytes() == whole


def test_a_table_of_other_sizes_with_a_right_seal_is_not_believed(spec):
    import hashlib

    expected = [image.clone() for image in everything(load(spec).train.images)]
    path = file_of(IMAGES)
    whole = bytearray(path.read_bytes())
    table = end_of_pixels(path)
    whole[table : table + 4] = struct.pack("<I", 10_000)
    seal = hashlib.sha256(whole[:56] + whole[table:-32]).digest()
    path.write_bytes(whole[:-32] + seal)
    assert same(everything(load(spec).train.images), expected)


def identity_2(files, count):
    """What version 2 of decoding took the fingerprint of."""
    listed = "\0".join(files.keys).encode()
    return b"decode 2\0%d\0" % count + listed + files.contents().tobytes()


def fingerprint_2(data, files):
    train = data.train
    return fingerprint(
        identity_2(files, len(train.labels)), train.labels, train.class_names, train.images.size
    )


def test_photographs_have_another_fingerprint_than_squares_cut_of_them_had(spec):
    data = load(replace(spec, store="never"))
    assert not data.train.matches(fingerprint_2(data, data.train.images.files))
    assert data.train.fingerprint_v1 == data.train.fingerprint


def test_small_images_of_one_size_keep_the_fingerprint_of_version_2(make_folder):
    data = load(DataSpec(str(make_folder([5, 3])), store="never"))
    assert data.train.fingerprint == fingerprint_2(data, data.train.images.files)
    assert data.train.fingerprint_v1 != data.train.fingerprint


def test_training_and_test_images_may_be_of_different_kinds(make_folder, write_image):
    folder = make_folder([3, 3])
    write_image(folder / "test" / "class1" / "tall.png", size=(8, 20))
    data = load(DataSpec(str(folder)))
    assert data.train.images.resident is not None
    assert data.test.images.resident is None
    assert everything(data.test.images)[-1].shape == (3, 20, 8)


def test_every_photograph_that_is_damaged_is_named_and_nothing_is_stored(tmp_path):
    folder = write_photographs(tmp_path / "mixed")
    for name in ("train/class0/003.jpg", "test/class2/001.jpg"):
        path = folder / name
        path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"2 of 36 .*class0/003\.jpg.*class2/001\.jpg"):
        load(DataSpec(str(folder), image_size=SIZE))
    assert not paths()


def test_every_colour_mode_is_read_from_a_list(tmp_path):
    modes = ["1", "L", "LA", "P", "RGBA", "CMYK"]
    lines = []
    for number, mode in enumerate(modes):
        path = tmp_path / f"{number}.tif"
        Image.new("RGB", (40 + number, 30), (255, 255, 255)).convert(mode).save(path)
        lines.append(f"{path.name} {number % 2}\n")
    for split in ("train", "test"):
        (tmp_path / f"x_{split}.txt").write_text("".join(lines))
    data = load(DataSpec(str(tmp_path / "x_train.txt"), image_size=16))
    for image in everything(data.train.images):
        assert image.min() == 255
