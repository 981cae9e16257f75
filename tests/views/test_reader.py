"""Photographs become views: the pixels of torchvision, by any number of workers."""

import os
import shutil
import signal
from collections import Counter
from dataclasses import replace

import pytest
import torch
from mixed_sizes import SIZE, write_photographs
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter
from torchvision.transforms.v2 import functional

from ltkd_cli.data import DataSpec, images, load
from ltkd_cli.errors import DataError, DataMismatch
from ltkd_cli.views import reader
from ltkd_cli.views.draws import Draws
from ltkd_cli.views.policy import Policy, render
from ltkd_cli.views.reader import Reader, Request, clean, read, worker_count

CPU = torch.device("cpu")
IMAGENET = Policy("imagenet", 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_photographs(tmp_path_factory.mktemp("photographs") / "mixed")


@pytest.fixture(scope="module")
def loaded(folder, tmp_path_factory):
    """The training images from the store, and from files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LTKD_CACHE_DIR", str(tmp_path_factory.mktemp("store")))
        spec = DataSpec(str(folder), image_size=SIZE)
        yield {how: load(replace(spec, store=how)).train.images for how in ("always", "never")}


@pytest.fixture
def stored(loaded):
    return loaded["always"]


@pytest.fixture
def threads():
    """Sets how many threads, and so workers, there are."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def views_of(total, number):
    rows = torch.arange(total)
    return rows.repeat_interleave(number), torch.arange(number).repeat(total)


def requests_of(rows, views, size=7):
    return [Request(*parts) for parts in zip(rows.split(size), views.split(size), strict=True)]


def test_random_crops_are_those_of_torchvision_s_resized_crop(stored):
    rows, views = views_of(len(stored), 5)
    policy = Policy("rrc", 3)
    (found,) = read(stored, [Request(rows, views)], policy, CPU)
    draws = Draws(policy.seed, rows, views).of("rrc")
    sources = stored.gather(rows)
    heights, widths = (torch.tensor([image.shape[side] for image in sources]) for side in (1, 2))
    boxes = policy.crop.boxes(heights, widths, draws).tolist()
    for place in (views != 0).nonzero()[:, 0].tolist():
        expected = functional.resized_crop(sources[place], *boxes[place], [SIZE, SIZE])
        difference = found.images[place].int() - expected.int()
        assert difference.abs().max() <= 1  # a mean half-way between two grey levels


@pytest.mark.parametrize(("policy", "margin"), [("imagenet", 256 / 224), ("crop+flip", 1)])
def test_the_clean_view_is_torchvision_s_resize_and_centre_crop(stored, policy, margin):
    rows = torch.arange(len(stored))
    (found,) = read(stored, clean([rows]), Policy(policy), CPU)
    for image, shown in zip(stored.gather(rows), found.images, strict=True):
        short = min(image.shape[1:])
        resized = functional.resize(image, max(SIZE, min(short, int(SIZE * margin + 1e-6))))
        expected = functional.center_crop(resized, SIZE)
        assert (shown.int() - expected.int()).abs().max() <= 1


def test_only_what_a_policy_needs_is_shown_of_images_one_pixel_wide(stored):
    thin = [row for row, image in enumerate(stored.gather(torch.arange(24))) if 1 in image.shape]
    assert thin
    rows = torch.tensor(thin).repeat_interleave(4)
    (found,) = read(stored, [Request(rows, torch.arange(4).repeat(len(thin)))], IMAGENET, CPU)
    assert found.images.shape == (len(rows), 3, SIZE, SIZE)
    assert (found.images[::4].flatten(1).float().std(1) > 0).any()


@pytest.mark.parametrize("policy", ["imagenet", "crop+flip", "rrc+flip+mixup:0.5+cutmix:1"])
def test_any_number_of_workers_gives_the_same_pixels_from_store_and_files(loaded, policy, threads):
    rows, views = views_of(24, 3)
    expected = None
    for how, kept in loaded.items():
        for number, size in ((1, 100), (1, 7), (3, 5)):
            threads(number)
            found = list(read(kept, requests_of(rows, views, size), Policy(policy, 3), CPU))
            pixels = torch.cat([mixed.images for mixed in found])
            expected = pixels if expected is None else expected
            assert torch.equal(pixels, expected), (how, number, size)


def test_what_comes_out_of_workers_is_what_is_rendered_at_once(stored):
    rows, views = views_of(24, 2)
    policy = Policy("rrc+flip+cutmix:1", 3)
    found = list(read(stored, requests_of(rows, views), policy, CPU))
    whole = render(stored.gather, rows, views, policy, 24, stored.size)
    for name in ("images", "partner_rows", "shares"):
        assert torch.equal(torch.cat([getattr(m, name) for m in found]), getattr(whole, name))
    assert (whole.partner_rows != rows).any()


@pytest.fixture
def decoded(monkeypatch, tmp_path):
    """Names of images in the order in which they are decoded, by whatever process."""
    log = tmp_path / "decoded"
    log.touch()
    decode = images.attempt

    def counting(file, short, name=""):
        with log.open("a") as lines:
            lines.write(f"{name}\n")
        return decode(file, short, name)

    monkeypatch.setattr(images, "attempt", counting)
    return lambda: log.read_text().split()


def test_each_image_is_decoded_once_for_all_views_of_a_request(loaded, decoded):
    files = loaded["never"]
    rows, views = views_of(24, 8)
    assert len(list(read(files, requests_of(rows, views, 32), IMAGENET, CPU))) == 6
    assert Counter(decoded()) == Counter(files.files.paths)


def test_only_the_rows_that_are_asked_for_are_decoded(loaded, decoded):
    files = loaded["never"]
    list(read(files, clean([torch.tensor([3, 5]), torch.tensor([3])]), IMAGENET, CPU))
    assert decoded() == [files.files.paths[row] for row in (3, 5, 3)]


def opened(kept, batches=6):
    """A reader, and requests for it."""
    rows = torch.arange(24).repeat(batches)[: 4 * batches]
    return Reader(kept, IMAGENET, CPU), clean(rows.split(4))


def workers_of(used):
    return used._loader._iterator._workers


def test_workers_stay_from_one_epoch_to_the_next_and_can_be_given_other_work(stored):
    used, requests = opened(stored)
    first = used.frames(requests)
    next(first)
    before = [worker.pid for worker in workers_of(used)]
    again = list(used.frames(requests[2:]))  # the first epoch was given up
    assert before == [worker.pid for worker in workers_of(used)]
    assert len(again) == 4
    assert torch.equal(again[0], list(used.frames(requests))[2])


def test_an_epoch_with_more_work_than_the_first_gets_more_workers(stored, threads, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    threads(2)
    rows, views = views_of(len(stored), 2)
    requests = requests_of(rows, views, size=4)
    at_work = Reader(stored, IMAGENET, CPU)
    for number, workers in ((1, 0), (len(requests), 2), (1, 2)):
        list(at_work.frames(requests[:number]))
        assert at_work._loader.num_workers == workers


def test_the_global_generator_is_left_alone(stored):
    before = torch.get_rng_state()
    used, requests = opened(stored)
    list(used.frames(requests))
    assert torch.equal(before, torch.get_rng_state())


def test_ctrl_c_does_not_reach_the_workers(stored):
    used, requests = opened(stored)
    frames = used.frames(requests)
    for worker in workers_of(used):
        os.kill(worker.pid, signal.SIGINT)
    assert len(list(frames)) == len(requests)


def test_a_worker_that_is_killed_ends_the_command_with_a_sentence(stored, monkeypatch):
    waits = _MultiProcessingDataLoaderIter._try_get_data
    monkeypatch.setattr(waits, "__defaults__", (0.1,))  # seconds; else 5
    used, requests = opened(stored, batches=40)
    frames = used.frames(requests)
    next(frames)
    for worker in workers_of(used):
        os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(DataError, match="process that reads images") as caught:
        list(frames)
    assert "/dev/shm" in caught.value.hint


@pytest.mark.parametrize("batches", [1, 4], ids=["here", "in workers"])
def test_an_error_in_a_worker_names_the_file(folder, tmp_path, batches):
    copy = shutil.copytree(folder, tmp_path / "mixed")
    spec = DataSpec(str(copy), image_size=SIZE, store="never")
    files = load(spec).train.images
    path = copy / "train" / "class1" / "002.jpg"
    whole = path.read_bytes()
    path.write_bytes(whole[:200])
    requests = clean(torch.arange(24).chunk(batches))
    with pytest.raises(DataError, match=r"class1/002\.jpg cannot be read"):
        list(read(files, requests, IMAGENET, CPU))
    path.write_bytes(whole)
    with pytest.raises(DataMismatch, match=r"class1/002\.jpg was changed"):
        list(read(files, requests, IMAGENET, CPU))


def test_no_memory_for_a_batch_is_said_as_that(stored, monkeypatch):
    def gather(rows):
        raise MemoryError

    monkeypatch.setattr(stored, "gather", gather)
    with pytest.raises(DataError, match="not enough memory"):
        list(read(stored, clean([torch.arange(3)]), IMAGENET, CPU))


def test_workers_are_as_many_as_there_are_threads_requests_and_room(monkeypatch, threads):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)))
    threads(4)
    assert worker_count(100, 1000, CPU) == 4
    assert worker_count(3, 1000, CPU) == 3
    assert worker_count(1, 1000, CPU) == 0  # nothing to do ahead
    assert worker_count(100, 1000, torch.device("cuda")) == reader.MAX_WORKERS
    assert worker_count(100, 2, CPU) == 2
    assert worker_count(100, 0, CPU) == 0


def test_a_reader_serves_one_call_of_read_after_the_other(stored, threads):
    threads(2)
    requests = clean(torch.arange(12).split(3))
    kept, loaders = Reader(stored, IMAGENET, CPU), []
    for _ in range(2):
        found = [each.images for each in read(stored, requests, IMAGENET, CPU, kept)]
        own = [each.images for each in read(stored, requests, IMAGENET, CPU)]
        assert all(torch.equal(a, b) for a, b in zip(found, own, strict=True))
        loaders.append(kept._loader)
    assert loaders[0] is loaders[1]
    assert loaders[0].num_workers == 2


def test_shared_memory_that_is_too_small_is_told_of(stored, monkeypatch, threads, tmp_path):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)))
    monkeypatch.setattr(reader, "SHARED_MEMORY", tmp_path)
    threads(4)
    height, width = stored.size
    usage, batch = shutil.disk_usage("/"), 3 * height * width * 100
    for batches, room in ((24, 4), (23, 3)):  # of three for each process, half of what is free
        free = batches * batch
        monkeypatch.setattr(shutil, "disk_usage", lambda path, free=free: usage._replace(free=free))
        assert reader.room_for(batch) == room
        said = Reader(stored, IMAGENET, CPU).lacking(100)
        assert bool(said) == (room < 4)
    mixed = Policy("rrc+flip+mixup:0.2")
    assert Reader(stored, mixed, CPU).lacking(50)  # with their partners as many as 100
    assert not Reader(stored, mixed, CPU).lacking(25)
    monkeypatch.setattr(reader, "SHARED_MEMORY", tmp_path / "none")
    assert not Reader(stored, IMAGENET, CPU).lacking(100)
