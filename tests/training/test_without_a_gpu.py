"""What training and inference do on a GPU, as far as a GPU that is not there can tell."""

from itertools import islice

import pytest
import torch
from pretended_gpu import GPU, pretend
from small_training import WIDTH, cache_of, loader_of, start
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
)

from ltkd_cli import inference
from ltkd_cli.cache import Cache
from ltkd_cli.events import Step
from ltkd_cli.training.features import FeatureLoader, stored
from ltkd_cli.training.loader import open_loader
from ltkd_cli.training.loop import train
from ltkd_cli.training.recipe import Recipe
from ltkd_cli.views.policy import Policy

BOTH = frozenset({"logits", "features"})


@pytest.fixture(scope="module")
def caches(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("caches")
    return {
        dtype: cache_of(folder / f"{dtype}.h5", digits, 3, dtype).path
        for dtype in ("float32", "float16", "uint8")
    }


@pytest.fixture
def gpu(monkeypatch):
    return pretend(monkeypatch)


def where(batch):
    """Devices of everything that a method reads."""
    found = [batch.labels, batch.rows, batch.progress]
    found += [values for outputs in batch.teachers for values in outputs.values()]
    if batch.partners:
        found += [batch.partners.labels, batch.partners.rows, batch.partners.shares]
    return {values.device for values in found}


def test_a_pretended_gpu_refuses_what_a_real_one_refuses_or_waits_for(gpu):
    with gpu:
        there, here = torch.zeros(3).to(GPU), torch.ones(3)
        assert (here + 1).tolist() == [2, 2, 2]
        with pytest.raises(RuntimeError, match="device"):
            there + here
        gpu.strict = True
        for copy in (lambda: here.to(GPU), lambda: there[here.long()], lambda: there.copy_(here)):
            with pytest.raises(RuntimeError, match="the host waits"):
                copy()
        assert here.to(GPU, non_blocking=True).device == GPU
        with pytest.raises(DataDependentOutputException):
            float(there.sum())
        with pytest.raises(DynamicOutputShapeException):
            there.nonzero()


@pytest.mark.parametrize("policy", ["crop-flip", "cifar-strong", "crop+mixup:0.8+cutmix:1"])
@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
def test_batches_and_outputs_lie_on_the_gpu(digits, caches, gpu, policy, resident, dtype):
    cache = Cache.open(caches[dtype])
    with gpu:
        loader = open_loader(digits.train, Policy(policy), (cache,), BOTH, GPU, resident=resident)
        gpu.strict = True
        sampled = loader.sample_epoch("instance", 0, 0)
        images, batch = next(loader.batches(sampled, 64, 0, 0, 1))
    assert images.device == GPU
    assert where(batch) == {GPU}
    assert batch.teachers[0]["features"].shape == (64, WIDTH)
    assert {values.dtype for values in batch.teachers[0].values()} == {torch.float32}


@pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_steps_of_a_training_wait_for_nothing(digits, gpu, optimizer):
    recipe = Recipe(
        epochs=1, batch_size=64, learning_rate=0.1, optimizer=optimizer, average_decay=0.9,
        clip_norm=1.0,
    )  # fmt: skip
    with gpu:
        training = start(digits, recipe, device=GPU)
        assert training.device == GPU
        loader = loader_of(digits, GPU, jitter_seed=0)
        gpu.strict = True
        steps = list(islice(train(training, loader, recipe, 0, "float32"), 3))
    assert all(isinstance(step, Step) for step in steps)
    assert {total.device for total in training.sums.values()} == {GPU}
    assert {values.device for values in training.average.module.state_dict().values()} == {GPU}


@pytest.mark.parametrize("kept", [True, False])
def test_features_of_a_frozen_backbone_come_to_the_gpu(digits, caches, gpu, kept):
    with gpu:
        source = stored(
            Cache.open(caches["float32"]), digits.train.labels, 3, GPU if kept else None
        )
        loader = FeatureLoader(source, GPU)
        gpu.strict = True
        sampled = loader.sample_epoch("class-balanced", 0, 0)
        features, batch = next(loader.batches(sampled, 64, 0, 0, 1))
    assert (features.device, features.shape) == (GPU, (64, WIDTH))
    assert where(batch) == {GPU}


def test_outputs_of_all_views_are_computed_on_the_gpu(digits, gpu):
    rows = torch.arange(20)
    with gpu:
        network = start(digits, Recipe(epochs=1, batch_size=64, learning_rate=0.1)).network.to(GPU)
        blocks = [(rows, torch.full_like(rows, 3))]
        policy = Policy("cifar-strong+mixup:0.8")
        gpu.strict = True
        (outputs,) = inference.forward_views(network, digits.train, blocks, policy, GPU, "float32")
    assert {values.device for values in outputs.values()} == {GPU}
    assert len(outputs["logits"]) == 60
