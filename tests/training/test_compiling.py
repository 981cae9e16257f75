"""Compiled training: the same numbers, names and state; where it fails, plain training."""

import pytest
import torch
from torch import nn

from ltkd_cli.data import DataSpec, load
from ltkd_cli.events import Note, Warned
from ltkd_cli.methods.contract import Task
from ltkd_cli.methods.finding import find
from ltkd_cli.models import ModelSpec, Network
from ltkd_cli.models.backbone import Backbone
from ltkd_cli.training.compiling import compile_forward
from ltkd_cli.training.loader import open_loader
from ltkd_cli.training.loop import begin, train
from ltkd_cli.training.recipe import Recipe
from ltkd_cli.views.policy import ViewPolicy

CPU = torch.device("cpu")
RECIPE = Recipe(epochs=1, batch_size=128, learning_rate=1e-3, schedule="constant")
compile_really = torch.compile


@pytest.fixture(scope="module")
def digits():
    return load(DataSpec())


@pytest.fixture
def without_cpp(monkeypatch):
    """torch.compile up to the point where it would write C++, which takes minutes to compile."""

    def compile_to_graph(network, *, dynamic, mode, options):
        return compile_really(network, dynamic=dynamic, backend="aot_eager")

    monkeypatch.setattr(torch, "compile", compile_to_graph)


def small_network(data):
    spec = ModelSpec("small", len(data.train.class_names), mean=data.mean, std=data.std)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        return Network(spec, Backbone(layers, width=8))


def start(data, device=CPU):
    network = small_network(data)
    counts = torch.tensor(data.train.class_counts())
    task = Task(counts, data.train.labels, data.groups, network.width)
    return begin(network, find("ce")(task), RECIPE, device)


def loader_of(data, device=CPU):
    return open_loader(data.train, ViewPolicy(data.views), (), frozenset(), device)


def compiled(data, device=CPU):
    training = start(data, device)
    return training, compile_forward(training, loader_of(data, device), RECIPE, "float32")


def run(training, data, device=CPU):
    return list(train(training, loader_of(data, device), RECIPE, seed=0, precision="float32"))


def weights_of(training):
    return torch.cat([value.flatten().float() for value in training.network.state_dict().values()])


@pytest.mark.usefixtures("without_cpp")
def test_trains_to_the_weights_of_the_plain_network(digits):
    training, said = compiled(digits)
    plain = start(digits)
    assert isinstance(said, Note)
    assert training.forward is not training.network
    terms, expected = (run(each, digits)[-1].terms for each in (training, plain))
    assert terms["label"] == pytest.approx(expected["label"], rel=1e-4)
    assert torch.allclose(weights_of(training), weights_of(plain), rtol=1e-3, atol=1e-4)


@pytest.mark.usefixtures("without_cpp")
def test_saves_what_a_plain_training_takes_up(digits):
    training, _ = compiled(digits)
    run(training, digits)
    plain = start(digits)
    assert training.network.state_dict().keys() == plain.network.state_dict().keys()
    plain.restore(training.snapshot())
    assert torch.equal(weights_of(plain), weights_of(training))
    assert type(training.final_network) is Network


@pytest.mark.usefixtures("without_cpp")
def test_trying_it_leaves_no_trace_in_the_training(digits):
    torch.manual_seed(3)
    training, _ = compiled(digits)
    assert torch.equal(weights_of(training), weights_of(start(digits)))
    assert all(parameter.grad is None for parameter in training.network.parameters())
    drawn = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(1))


@pytest.mark.parametrize(
    ("instructions", "options"),
    [("AVX512", {"cpp.simdlen": 256}), ("AVX2", {}), ("DEFAULT", {})],
)
def test_vectors_are_no_wider_than_the_maps_of_a_narrow_network(
    digits, monkeypatch, instructions, options
):
    asked = []

    def watched(network, **options):
        asked.append(options["options"])
        return network

    monkeypatch.setattr(torch, "compile", watched)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: instructions)
    compiled(digits)
    assert asked == [options]


def test_leaves_the_short_last_batch_to_the_plain_network(digits, monkeypatch):
    sizes = []

    def watched(network, **options):
        return lambda images: sizes.append(len(images)) or network(images)

    monkeypatch.setattr(torch, "compile", watched)
    training, _ = compiled(digits)
    sizes.clear()
    run(training, digits)
    rows = len(digits.train.labels)
    assert rows % 128 > 1
    assert sizes == [128] * (rows // 128)


def fails_at_once(network, **options):
    raise RuntimeError("no compiler\nand much more")


def fails_on_the_way(network, **options):
    def forward(images):
        network(images)["logits"].sum().backward()
        torch.rand(1)
        raise RuntimeError("no compiler\nand much more")

    return forward


@pytest.mark.parametrize("broken", [fails_at_once, fails_on_the_way])
def test_goes_on_with_the_plain_network_where_compiling_fails(digits, monkeypatch, broken):
    monkeypatch.setattr(torch, "compile", broken)
    training, said = compiled(digits)
    assert isinstance(said, Warned)
    assert "small cannot be compiled here" in said.text
    assert said.text.endswith("(RuntimeError: no compiler)")
    assert training.forward is training.network
    plain = start(digits)
    assert torch.equal(weights_of(training), weights_of(plain))
    run(training, digits)
    run(plain, digits)
    assert torch.equal(weights_of(training), weights_of(plain))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_replays_cuda_graphs_to_the_weights_of_the_plain_network(digits):
    gpu = torch.device("cuda")
    training, said = compiled(digits, device=gpu)
    assert isinstance(said, Note), said
    plain = start(digits, device=gpu)
    run(training, digits, device=gpu)
    run(plain, digits, device=gpu)
    assert torch.allclose(weights_of(training), weights_of(plain), rtol=1e-2, atol=1e-3)
