"""Training compiled by torch.compile: the same numbers, names and state, or plain training."""

import shutil

import pytest
import torch
from small_training import CPU, loader_of, run, start, weights_of
from torch import nn

from ltkd_cli.events import Note, Warned
from ltkd_cli.models import ModelSpec, Network
from ltkd_cli.models.backbone import Backbone
from ltkd_cli.training.compiling import compile_network
from ltkd_cli.training.recipe import Recipe
from ltkd_cli.training.state import load_state, save_state

RECIPE = Recipe(epochs=2, batch_size=128, learning_rate=1e-3, schedule="constant")

needs_compiler = pytest.mark.skipif(not shutil.which("g++"), reason="needs a C++ compiler")


@pytest.fixture(scope="module", autouse=True)
def own_kernels(tmp_path_factory):
    """A folder for what torch.compile makes, so that the first test really compiles."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("kernels")))
        yield


@pytest.fixture
def no_compiler():
    """A machine without a C++ compiler, for torch.compile."""
    with torch._inductor.config.patch({"cpp.cxx": (None, "/nonexistent/g++")}):
        yield


class FailsAtThirdCall(nn.Module):
    """Passes maps on, but the third time raises."""

    calls = 0

    @torch.compiler.disable
    def forward(self, maps):
        self.calls += 1
        if self.calls == 3:
            raise RuntimeError("the third call\nand much more")
        return maps


def small_network(data, *more):
    """A convolution and batch normalisation, which compile in seconds."""
    spec = ModelSpec("small", len(data.train.class_names), mean=data.mean, std=data.std)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2),
            nn.BatchNorm2d(8),
            *more,
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        return Network(spec, Backbone(layers, width=8))


def plain(data, *more, device=CPU):
    return start(data, RECIPE, small_network(data, *more), device)


def compiled(data, *more, device=CPU):
    training = plain(data, *more, device=device)
    return training, compile_network(training, loader_of(data, device), RECIPE, "float32")


@needs_compiler
def test_trains_to_the_weights_of_the_plain_network(digits):
    training, event = compiled(digits)
    expected = plain(digits)
    assert isinstance(event, Note), event
    assert training.forward is not training.network
    losses, expected_losses = (run(each, digits, RECIPE)[-1].terms for each in (training, expected))
    assert losses["label"] == pytest.approx(expected_losses["label"], rel=1e-4)
    assert torch.allclose(weights_of(training), weights_of(expected), rtol=1e-3, atol=1e-4)


@needs_compiler
def test_interrupted_and_resumed_it_ends_with_the_same_weights_bit_for_bit(digits, tmp_path):
    whole, _ = compiled(digits)
    events = run(whole, digits, RECIPE)
    first, _ = compiled(digits)
    calls = iter(range(len(events)))
    run(first, digits, RECIPE, stop=lambda: next(calls) == 4)  # in the second epoch
    assert (first.epoch, first.batch) == (1, 1)
    save_state(first, tmp_path / "state.pt")
    resumed = plain(digits)
    load_state(resumed, tmp_path / "state.pt")
    compile_network(resumed, loader_of(digits), RECIPE, "float32")
    run(resumed, digits, RECIPE)
    assert torch.equal(weights_of(resumed), weights_of(whole))


@needs_compiler
def test_saves_what_a_plain_training_takes_up(digits):
    training, _ = compiled(digits)
    run(training, digits, RECIPE)
    resumed = plain(digits)
    assert training.network.state_dict().keys() == resumed.network.state_dict().keys()
    resumed.restore(training.snapshot())
    assert torch.equal(weights_of(resumed), weights_of(training))
    assert type(training.final_network) is Network


@needs_compiler
def test_trying_it_leaves_no_trace_in_the_training(digits):
    torch.manual_seed(3)
    training, _ = compiled(digits)
    assert torch.equal(weights_of(training), weights_of(plain(digits)))
    assert all(parameter.grad is None for parameter in training.network.parameters())
    drawn = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(1))


@needs_compiler
def test_compiles_nothing_anew_for_the_short_last_batch(digits):
    assert len(digits.train.labels) % RECIPE.batch_size > 1
    training, _ = compiled(digits)
    with torch.compiler.set_stance("fail_on_recompile"):
        run(training, digits, RECIPE)


def assert_trains_as_the_plain_network(training, digits):
    expected = plain(digits)
    assert training.forward is training.network
    assert all(parameter.grad is None for parameter in training.network.parameters())
    assert torch.equal(weights_of(training), weights_of(expected))
    run(training, digits, RECIPE)
    run(expected, digits, RECIPE)
    assert torch.equal(weights_of(training), weights_of(expected))


@pytest.mark.usefixtures("no_compiler")
def test_without_a_cpp_compiler_it_warns_and_trains_as_it_is(digits):
    training, event = compiled(digits)
    assert isinstance(event, Warned), event
    assert "small" in event.text
    assert "compiler" in event.text
    assert_trains_as_the_plain_network(training, digits)


@needs_compiler
def test_what_fails_after_some_steps_is_put_back_and_trains_as_it_is(digits):
    training, event = compiled(digits, FailsAtThirdCall())
    assert isinstance(event, Warned), event
    assert "the third call" in event.text
    assert "\n" not in event.text
    assert_trains_as_the_plain_network(training, digits)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_replays_cuda_graphs_to_the_weights_of_the_plain_network(digits):
    gpu = torch.device("cuda")
    training, event = compiled(digits, device=gpu)
    expected = plain(digits, device=gpu)
    assert isinstance(event, Note), event
    run(training, digits, RECIPE)
    run(expected, digits, RECIPE)
    assert torch.allclose(weights_of(training), weights_of(expected), rtol=1e-2, atol=1e-3)
