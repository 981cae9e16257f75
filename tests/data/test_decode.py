import errno
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from decoded_files import file_of, paths
from PIL import Image
from torchvision.transforms import functional

from ltkd_cli.data import DataSpec, decoded, files, load, store
from ltkd_cli.data.decode import Failure, attempt, decode, dimensions, reduced
from ltkd_cli.errors import DataError
from ltkd_cli.files import replacing


@pytest.fixture
def noise():
    return np.random.default_rng(3).integers(0, 256, (24, 48, 3), dtype=np.uint8)


def test_an_image_of_the_right_size_stays_untouched(tmp_path, noise):
    Image.fromarray(noise[:24, :24]).save(tmp_path / "a.png")
    pixels = decode(str(tmp_path / "a.png"), 24)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, noise[:24, :24].transpose(2, 0, 1))


@pytest.mark.parametrize("short", [1, 5, 12, 23])
def test_a_longer_short_side_is_reduced_as_torchvision_does(tmp_path, noise, short):
    Image.fromarray(noise).save(tmp_path / "a.png")
    expected = np.asarray(functional.resize(Image.fromarray(noise), short)).transpose(2, 0, 1)
    np.testing.assert_array_equal(decode(str(tmp_path / "a.png"), short), expected)


@pytest.mark.parametrize("short", [24, 36, 4096])
def test_nothing_is_enlarged_and_the_aspect_ratio_stays(tmp_path, noise, short):
    for pixels in (noise, noise.swapaxes(0, 1), noise[:1]):
        Image.fromarray(np.ascontiguousarray(pixels)).save(tmp_path / "a.png")
        found = decode(str(tmp_path / "a.png"), short)
        np.testing.assert_array_equal(found, pixels.transpose(2, 0, 1))


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (2, 900), (1, 1)])
def test_images_of_extreme_shapes_stay_as_they_are(tmp_path, size):
    Image.new("RGB", size, (9, 8, 7)).save(tmp_path / "a.png")
    assert decode(str(tmp_path / "a.png"), 4).shape == (3, *reduced(size, 4)[::-1])
    assert min(reduced(size, 1)) == 1


def test_a_large_jpeg_is_decoded_at_a_smaller_scale_to_nearly_the_same_pixels(tmp_path):
    ramp = np.linspace(0, 255, 800)
    pixels = np.stack([np.add.outer(ramp, ramp[:600]) / 2] * 3, 2).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=95)
    found = decode(str(tmp_path / "a.jpg"), 60)
    with Image.open(tmp_path / "a.jpg") as whole:
        expected = np.asarray(functional.resize(whole, 60)).transpose(2, 0, 1)
    assert found.shape == expected.shape == (3, 80, 60)
    assert np.abs(found.astype(int) - expected).max() <= 3


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "CMYK", "YCbCr"])
def test_every_colour_mode_becomes_rgb(tmp_path, mode):
    Image.new("RGB", (8, 8), (255, 255, 255)).convert(mode).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(decode(str(tmp_path / "a.tif"), 8), np.full((3, 8, 8), 255))


def test_transparent_palettes_are_read_without_a_warning(tmp_path, noise):
    image = Image.fromarray(noise[:8, :8]).quantize(16)
    image.save(tmp_path / "a.png", transparency=bytes(range(16)))
    expected = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    np.testing.assert_array_equal(decode(str(tmp_path / "a.png"), 8), expected)


def test_sixteen_bits_a_pixel_are_scaled_not_cut_off(tmp_path):
    values = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1024
    Image.fromarray(values).save(tmp_path / "a.png")
    expected = np.broadcast_to(values >> 8, (3, 8, 8))
    np.testing.assert_array_equal(decode(str(tmp_path / "a.png"), 8), expected)


TURNED = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: np.rot90(pixels),
}


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("orientation", TURNED)
def test_photographs_are_turned_upright(tmp_path, noise, orientation, name):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(noise).save(tmp_path / name, exif=exif)
    expected = TURNED[orientation](noise).transpose(2, 0, 1)
    np.testing.assert_array_equal(decode(str(tmp_path / name), 24), expected)
    assert decode(str(tmp_path / name), 12).shape == (
        3,
        *(side // 2 for side in expected.shape[1:]),
    )


BROKEN = {
    "empty.png": lambda whole: b"",
    "cut.png": lambda whole: whole[: len(whole) // 2],
    "page.png": lambda whole: b"<html>404</html>",
    "flipped.png": lambda whole: whole[:60] + b"\xff\xff\xff\xff" + whole[64:],
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_give_their_reason(tmp_path, write_image, name):
    write_image(tmp_path / name)
    (tmp_path / name).write_bytes(BROKEN[name]((tmp_path / name).read_bytes()))
    failure = attempt(str(tmp_path / name), 8)
    assert isinstance(failure, Failure)
    assert failure.path == str(tmp_path / name)
    assert failure.reason


def test_dimensions_are_width_and_height(tmp_path, write_image):
    write_image(tmp_path / "a.png", size=(7, 9))
    (tmp_path / "b.png").write_bytes(b"")
    assert dimensions(str(tmp_path / "a.png")) == (7, 9)
    assert dimensions(str(tmp_path / "b.png")) is None


def progress_of(spec):
    """The data of `spec` and every (done, total) that was reported."""
    calls = []
    return load(spec, lambda done, total: calls.append((done, total))), calls


def test_images_are_decoded_at_the_first_start_only(make_folder):
    spec = DataSpec(str(make_folder([3, 3])))
    first, decoding = progress_of(spec)
    second, nothing = progress_of(spec)
    assert decoding[-1] == (10, 10)
    assert nothing == []
    assert torch.equal(first.train.images.resident, second.train.images.resident)
    assert torch.equal(first.test.images.resident, second.test.images.resident)


def test_progress_is_told_at_most_every_hundred_images(make_folder):
    _, calls = progress_of(DataSpec(str(make_folder([300, 300], test=1, size=(2, 2)))))
    done = [0, *(number for number, _ in calls)]
    assert done[-1] == 602
    assert {total for _, total in calls} == {602}
    steps = np.diff(done)
    assert (steps[:-2] >= 100).all()
    assert len(calls) > 2


def test_a_moved_folder_needs_no_decoding(make_folder):
    folder = make_folder([3, 3])
    load(DataSpec(str(folder)))
    moved = folder.rename(folder.with_name("elsewhere"))
    assert progress_of(DataSpec(str(moved)))[1] == []


def test_an_edit_that_keeps_the_size_of_a_file_is_noticed_by_its_time(
    make_folder, write_image, monkeypatch
):
    monkeypatch.setattr(files, "SAMPLED_FILES", 0)
    folder = make_folder([3, 3])
    path = folder / "train" / "class1" / "003.bmp"
    write_image(path, seed=98)
    load(DataSpec(str(folder)))
    expected = write_image(path, seed=99)
    os.utime(path, ns=(0, 12_345))
    image = load(DataSpec(str(folder))).train.images.resident[-1]
    np.testing.assert_array_equal(image.permute(1, 2, 0), expected)


def test_two_sets_of_equal_names_sizes_and_times_are_told_apart(make_folder, tmp_path):
    for name in ("night", "day"):
        for label, colour in enumerate([(0, 0, 0), (9, 9, 9)]):
            for split in ("train", "test"):
                path = tmp_path / name / split / str(label) / "0.bmp"
                path.parent.mkdir(parents=True)
                colour = (200, 200, 200) if name == "day" else colour
                Image.new("RGB", (8, 8), colour).save(path)
                os.utime(path, ns=(0, 0))
    night, day = (load(DataSpec(str(tmp_path / name))) for name in ("night", "day"))
    assert night.train.images.resident.max() == 9
    assert day.train.images.resident.min() == 200
    assert night.train.fingerprint != day.train.fingerprint


def test_a_cut_off_store_is_decoded_again(make_folder):
    spec = DataSpec(str(make_folder([3, 3])))
    expected = load(spec).train.images.resident.clone()  # it is mapped
    for path in paths():
        path.write_bytes(path.read_bytes()[:-1])
    again, calls = progress_of(spec)
    assert calls[-1] == (10, 10)
    assert torch.equal(again.train.images.resident, expected)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no list of mapped files")
def test_processes_share_the_file_and_keep_their_changes_to_themselves(make_folder):
    spec = DataSpec(str(make_folder([3, 3])))
    mapped = load(spec).train.images.resident
    expected = mapped.clone()
    path = file_of(6)
    assert str(path) in Path("/proc/self/maps").read_text()
    mapped.zero_()
    assert torch.equal(load(spec).train.images.resident, expected)


@pytest.mark.parametrize("size", [8, 6])
def test_huge_sets_are_decoded_on_demand_with_the_same_pixels(make_folder, monkeypatch, size):
    spec = DataSpec(str(make_folder([5, 3])), image_size=size)
    expected = load(spec)
    shutil.rmtree(store.cache_folder())
    monkeypatch.setattr(decoded, "STORED_LIMIT", 0)
    data, calls = progress_of(spec)
    assert calls == []
    assert paths() == []
    assert data.train.images.resident is None
    assert len(data.train.images) == 8
    rows = torch.tensor([7, 0, 7])
    pairs = zip(data.train.images.gather(rows), expected.train.images.gather(rows), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)
    assert (data.mean, data.std) == (expected.mean, expected.std)
    assert data.train.fingerprint == expected.train.fingerprint


def test_a_broken_file_is_named_when_decoded_on_demand(make_folder, monkeypatch):
    monkeypatch.setattr(decoded, "STORED_LIMIT", 0)
    folder = make_folder([2, 2])
    test = load(DataSpec(str(folder))).test.images
    (folder / "test" / "class1" / "000.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"test/class1/000\.png cannot be read"):
        test.gather(torch.arange(4))


def break_images(folder, number):
    kinds = list(BROKEN.values())
    paths = sorted(folder.rglob("*.png"))[:number]
    for place, path in enumerate(paths):
        path.write_bytes(kinds[place % len(kinds)](path.read_bytes()))
    return [str(path) for path in paths]


def test_every_unreadable_image_of_both_splits_is_listed(make_folder):
    folder = make_folder([8, 8], test=3)
    broken = break_images(folder / "train", 8) + break_images(folder / "test", 4)
    with pytest.raises(DataError, match="12 of 22 images cannot be read") as caught:
        load(DataSpec(str(folder)))
    assert all(path in caught.value.problem for path in broken[:10])
    report = Path(caught.value.hint.split()[-1]).read_text().splitlines()
    reason = report[0].split("\t")[1]
    assert caught.value.problem.endswith(f"and 2 more (the first: {reason}).")
    assert [line.split("\t")[0] for line in report] == broken
    assert all(line.split("\t")[1] for line in report)


def test_nothing_is_stored_of_a_split_with_unreadable_images(make_folder):
    folder = make_folder([3, 3])
    broken = break_images(folder / "train", 1)
    for _ in range(2):
        with pytest.raises(DataError, match="1 of "):
            load(DataSpec(str(folder)))
    assert len(paths()) == 1  # the test images
    Path(broken[0]).unlink()
    assert load(DataSpec(str(folder))).train.class_counts() == [2, 3]
    assert not list(store.cache_folder().glob("*.partial"))


def test_unreadable_images_that_are_not_used_do_no_harm(make_folder):
    folder = make_folder([9, 9])
    natural = load(DataSpec(str(folder)))
    tailed = load(DataSpec(str(folder), imbalance=9))
    used = {image.numpy().tobytes() for image in tailed.train.images.resident}
    for number, image in enumerate(natural.train.images.resident[9:]):
        if image.numpy().tobytes() not in used:
            (folder / "train" / "class1" / f"{number:03}.png").write_bytes(b"")
    assert load(DataSpec(str(folder), imbalance=9)).train.fingerprint == tailed.train.fingerprint


def test_a_full_disk_is_noticed_before_decoding(make_folder, monkeypatch):
    usage = shutil.disk_usage(".")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    spec = DataSpec(str(make_folder([2, 2])))
    with pytest.raises(DataError, match=r"take 1.5 KB, .* has 1.0 KB free") as caught:
        load(replace(spec, store="always"))
    assert "LTKD_CACHE_DIR" in caught.value.hint
    kept = load(spec).kept
    assert (kept.stored, kept.why, kept.free) == (False, "room", 1000)


def test_a_write_that_fails_leaves_nothing_behind(make_folder):
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    spec = DataSpec(str(make_folder([2, 2], size=(320, 300))), image_size=256)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, before[1]))
    try:
        with pytest.raises(DataError, match="cannot be written") as caught:
            load(spec)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "LTKD_CACHE_DIR" in caught.value.hint
    assert not list(store.cache_folder().glob("*.partial"))
    assert paths() == []


@pytest.mark.parametrize("kind", ["EPS", "TGA", "ICO"])
def test_files_of_other_formats_are_no_images_whatever_their_name(tmp_path, kind):
    """For EPS Pillow would start Ghostscript."""
    path = tmp_path / "image.jpg"
    Image.new("RGB", (16, 16)).save(path, kind)
    assert dimensions(str(path)) is None
    assert isinstance(attempt(str(path), 16), Failure)


def test_a_cache_folder_that_cannot_be_made_is_named(make_folder, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LTKD_CACHE_DIR", str(tmp_path / "file" / "cache"))
    with pytest.raises(DataError, match="file/cache"):
        load(DataSpec(str(make_folder([2, 2]))))


def test_the_cache_folder_is_the_systems_by_default(monkeypatch, tmp_path):
    monkeypatch.delenv("LTKD_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert store.cache_folder().name == "ltkd"
    assert tmp_path in store.cache_folder().parents


def test_what_killed_processes_left_is_removed_and_what_living_ones_write_is_not(make_folder):
    left, young = (store.cache_folder() / f".{digits}.partial" for digits in ("0" * 16, "1" * 16))
    for path in (left, young):
        path.touch()
    with replacing(store.cache_folder() / "slow.images"):
        (held,) = {*store.cache_folder().glob("*.partial")} - {left, young}
        for path in (left, held):
            os.utime(path, (time.time() - 100,) * 2)
        load(DataSpec(str(make_folder([2, 2]))))
        assert not left.exists()
        assert young.exists()
        assert held.exists()


def test_where_files_cannot_be_locked_what_is_left_is_removed_after_a_day(monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("ltkd_cli.files.fcntl.flock", no_locks)
    old, young = (store.cache_folder() / f".{digits}.partial" for digits in ("0" * 16, "1" * 16))
    for path, age in ((old, 90_000), (young, 80_000)):
        path.touch()
        os.utime(path, (time.time() - age,) * 2)
    store.remove_left_behind()
    assert (old.exists(), young.exists()) == (False, True)


def test_several_processes_may_decode_at_once(make_folder):
    spec = DataSpec(str(make_folder([40, 40])))
    with ThreadPoolExecutor(4) as pool:
        loaded = list(pool.map(load, [spec] * 4))
    assert all(
        torch.equal(data.train.images.resident, loaded[0].train.images.resident) for data in loaded
    )
    assert len(paths()) == 2
