"""Teacher and student see the same pixels: cache, views and batches, each against the other."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from ltkd_cli import models, runs
from ltkd_cli.cache import Cache
from ltkd_cli.cli.app import run
from ltkd_cli.commands import train as training
from ltkd_cli.commands.export import slug
from ltkd_cli.commands.prepare import prepare
from ltkd_cli.data import DataSpec, load
from ltkd_cli.training.loader import open_loader
from ltkd_cli.views.policy import Policy, render, view

TINY = ("--model", "resnet8", "--evaluate-every", "0", "--precision", "float32")
VIEWS = 5
SEED_OF_VIEWS = 3
CPU = torch.device("cpu")

POLICIES = ("crop-flip", "crop+flip+mixup:0.8:0.8+cutmix:1")

# A float16 has 11 significant bits; forward passes over other batches differ in the last of 24.
HALF = {"rtol": 2.0**-11, "atol": 2e-5}


@pytest.fixture(scope="module", params=POLICIES)
def policy(request):
    return Policy(request.param, SEED_OF_VIEWS)


@pytest.fixture(scope="module")
def story(tmp_path_factory, policy):
    """A folder of runs with a teacher of flipped views and its cache."""
    root = tmp_path_factory.mktemp("pixels") / "runs"
    taught = ["teach", *TINY, "--epochs", "2", "--policy", "crop-flip", "--runs", str(root)]
    assert run(taught) == 0
    exported = ["export-logits", "--views", str(VIEWS), "--view-seed", str(SEED_OF_VIEWS)]
    assert run([*exported, "--policy", policy.name, "--runs", str(root)]) == 0
    return root


@pytest.fixture(scope="module")
def path(story, policy):
    return story / f"0001-teach-ce-resnet8/cache-{slug(policy)}-{VIEWS}.h5"


@pytest.fixture(scope="module")
def digits():
    return load(DataSpec())


@pytest.fixture(scope="module")
def teacher(story):
    network = models.load(runs.find(story, "1").weights).eval()

    def answer(images):
        with torch.inference_mode():
            return {name: value.numpy() for name, value in network(images).items()}

    return answer


def pixels_of(digits, rows, views, policy):
    """Views as float images [B, 3, H, W], by the view functions alone."""
    rows, views = torch.as_tensor(rows), torch.as_tensor(views)
    images, total = digits.train.images, len(digits.train.labels)
    if not policy.is_mixed:
        return view(images.gather(rows), rows, views, policy).float() / 255
    return render(images.gather, rows, views, policy, total).images.float() / 255


def test_h5py_alone_reads_the_teacher_s_outputs_for_every_view(path, policy, digits, teacher):
    with h5py.File(path) as file:
        first, logits, features = (file[name][:] for name in ("first", "logits", "features"))
    for row in (0, 1, 200, 451, 452):
        views = np.arange(first[row + 1] - first[row])
        assert len(views) == VIEWS
        computed = teacher(pixels_of(digits, np.full(VIEWS, row), views, policy))
        stored = slice(first[row], first[row + 1])
        np.testing.assert_allclose(logits[stored].astype(np.float32), computed["logits"], **HALF)
        np.testing.assert_allclose(
            features[stored].astype(np.float32), computed["features"], **HALF
        )


def test_view_0_of_the_cache_is_the_clean_image(path, digits, teacher):
    with h5py.File(path) as file:
        clean = file["logits"][file["first"][:-1]].astype(np.float32)
    images = digits.train.images.gather(torch.arange(len(digits.train.labels))).float() / 255
    np.testing.assert_allclose(clean, teacher(images)["logits"], **HALF)


@pytest.mark.parametrize("sampler", ["instance", "class-balanced"])
def test_a_batch_is_the_view_s_pixels_with_the_cached_outputs(path, policy, digits, sampler):
    cache = Cache.open(path)
    needs = frozenset({"logits", "features"})
    loader = open_loader(digits.train, policy, (cache,), needs, CPU)
    draws = loader.sample_epoch(sampler, seed=4, epoch=1)
    assert set(draws.views.tolist()) == set(range(VIEWS))
    with h5py.File(path) as file:
        first, logits, features = (file[name][:] for name in ("first", "logits", "features"))
    done = 0
    for images, batch in loader.batches(draws, 64, 0, epoch=1, epochs=2):
        part = slice(done, done + len(batch.rows))
        assert torch.equal(batch.rows, draws.rows[part])
        assert torch.equal(batch.labels, digits.train.labels[batch.rows])
        assert torch.equal(images, pixels_of(digits, batch.rows, draws.views[part], policy))
        entries = first[batch.rows.numpy()] + draws.views[part].numpy()
        (outputs,) = batch.teachers
        assert np.array_equal(outputs["logits"].numpy(), logits[entries].astype(np.float32))
        assert np.array_equal(outputs["features"].numpy(), features[entries].astype(np.float32))
        done += len(batch.rows)
    assert done == len(draws.rows)


def prepared_student(story, method):
    given = {
        "model": "resnet8", "method": method, "recipe": {"epochs": 2}, "seed": 9,
        "device": "cpu", "precision": "float32", "evaluate_every": 0,
    }  # fmt: skip
    return result_of(prepare(story, "distill", given))


def result_of(events):
    while True:
        try:
            next(events)
        except StopIteration as end:
            return end.value


@pytest.mark.parametrize("method", ["kd", "cbd"])  # logits row by row; features, class-balanced
def test_a_student_is_shown_the_pixels_that_its_teacher_s_outputs_are_for(story, teacher, method):
    prepared = prepared_student(story, method)
    shown, batches_given = [], []
    prepared.network.register_forward_pre_hook(
        lambda network, inputs: shown.append(inputs[0].clone()) if network.training else None
    )
    prepared.method.register_forward_pre_hook(lambda _, inputs: batches_given.append(inputs[1]))
    result_of(training.start(story, "distill", prepared, f"shown-{method}"))
    batches = -(-len(prepared.data.train.labels) // 32)
    assert len(shown) == len(batches_given) == 2 * batches
    name = "logits" if method == "kd" else "features"
    for images, batch in zip(shown, batches_given, strict=True):
        np.testing.assert_allclose(batch.teachers[0][name].numpy(), teacher(images)[name], **HALF)


def test_epochs_show_different_views_of_an_image(story):
    prepared = prepared_student(story, "kd")
    seen = {}

    def remember(_, inputs):
        _, batch = inputs
        for row, logits in zip(batch.rows.tolist(), batch.teacher_logits.tolist(), strict=True):
            seen.setdefault(row, []).append(tuple(logits))

    prepared.method.register_forward_pre_hook(remember)
    result_of(training.start(story, "distill", prepared, "epochs"))
    assert {len(views) for views in seen.values()} == {2}
    changed = sum(len(set(views)) == 2 for views in seen.values())
    assert changed > 0.6 * len(seen)


def test_a_run_s_caches_are_its_teachers(story, path, policy):
    settings = prepared_student(story, "kd").settings
    assert [Path(cache) for cache in settings.caches] == [path]
    assert (settings.views, settings.view_seed) == (policy.name, SEED_OF_VIEWS)


def test_what_is_kept_on_the_device_is_what_is_gathered_step_by_step(path, policy, digits):
    """The GPU's way, pixels and outputs held on the device, gives the very same batches."""
    cache = Cache.open(path)
    needs = frozenset({"logits", "features"})
    loader = open_loader(digits.train, policy, (cache,), needs, CPU)
    held = {name: cache.tensor(name, CPU) for name in needs}
    draws = loader.sample_epoch("class-balanced", 0, 0)
    ways = [
        list(each.batches(draws, 64, 0, epoch=0, epochs=1))
        for each in (
            replace(loader, outputs=(held,)),
            replace(loader, pixels=None, outputs=(None,)),
        )
    ]
    assert len(ways[0]) == len(ways[1]) > 5
    for (images, batch), (same_images, same) in zip(*ways, strict=True):
        assert torch.equal(images, same_images)
        assert torch.equal(batch.rows, same.rows)
        assert (batch.partners is None) == (same.partners is None) == (not policy.is_mixed)
        for part in ("labels", "rows", "shares") if batch.partners else ():
            assert torch.equal(getattr(batch.partners, part), getattr(same.partners, part))
        for name in needs:
            assert torch.equal(batch.teachers[0][name], same.teachers[0][name])
