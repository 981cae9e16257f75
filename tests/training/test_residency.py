"""What is kept in a GPU's memory is a question of sizes, which needs no GPU."""

import pytest
import torch
from run_examples import create
from small_training import SHORT, start
from torch import nn

from ltkd_cli.errors import LtkdError
from ltkd_cli.training.residency import bytes_for_step, decide, is_resident, out_of_memory

GB = 10**9
FLOAT = 4  # bytes


def test_auto_keeps_data_that_leaves_a_step_what_it_needs():
    assert is_resident("auto", data=30 * GB, step=50 * GB, free=80 * GB)


def test_auto_keeps_nothing_where_a_step_would_not_fit_beside_the_data():
    assert not is_resident("auto", data=31 * GB, step=50 * GB, free=80 * GB)


def test_always_keeps_whatever_fits_by_itself():
    assert is_resident("always", data=79 * GB, step=50 * GB, free=80 * GB)


def test_always_refuses_data_that_does_not_fit_at_all():
    with pytest.raises(LtkdError) as refused:
        is_resident("always", data=81 * GB, step=GB, free=80 * GB)
    assert "81.0 GB" in refused.value.problem
    assert str(refused.value.hint) == "--resident never"


def test_never_keeps_not_even_the_smallest_data():
    assert not is_resident("never", data=1, step=1, free=80 * GB)


@pytest.mark.parametrize("choice", ["auto", "always", "never"])
def test_on_the_cpu_nothing_is_to_be_decided(choice):
    cpu = torch.device("cpu")
    assert not decide(choice, 10**18, nn.Flatten(), (1, 3, 8, 8), "float32", cpu)


def test_a_step_needs_twice_its_activations_and_gradient_and_two_moments_of_every_weight():
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
    images = torch.zeros(2, 3, 8, 8)
    kept = images.numel() + 2 * 4 * 8 * 8  # input of the convolution, output of the ReLU
    weights = 4 * 3 * 9 + 4
    assert bytes_for_step(network, images, "float32") == (2 * kept + 3 * weights) * FLOAT


def test_a_step_of_a_larger_batch_needs_more_and_one_in_bfloat16_less(digits):
    network = start(digits, SHORT).network
    small, large = (
        bytes_for_step(network, torch.rand(size, 3, 16, 16), "float32") for size in (8, 32)
    )
    assert 3 * small < large < 4 * small  # the weights are the same
    assert bytes_for_step(network, torch.rand(32, 3, 16, 16), "bfloat16") < 0.7 * large


def test_estimating_a_step_changes_nothing_that_training_uses(digits):
    network = start(digits, SHORT).network
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images = torch.rand(8, 3, 16, 16)
    random = torch.get_rng_state()
    bytes_for_step(network, images, "float32")
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert torch.equal(random, torch.get_rng_state())


@pytest.fixture
def run(tmp_path):
    return create(tmp_path, name="mine")


def hinted(run, kept, batch_size, accumulate=1, precision="float32"):
    """The sentence, and the arguments of the command or the text that is hinted at."""
    error = out_of_memory(run, kept, 75 * GB, batch_size, accumulate, precision)
    assert "mine" in error.problem
    return error.problem, getattr(error.hint, "arguments", error.hint)


def test_out_of_memory_before_any_step_names_the_features_and_no_batch(run):
    problem, hint = hinted(run, 0, batch_size=0)
    assert "75.0 GB" in problem
    assert "features" in problem
    assert hint[:3] == ("teach", "--precision", "bfloat16")
    _, hint = hinted(run, 0, batch_size=0, precision="bfloat16")
    assert hint == f"rm -f -- {run.path}/*.partial && ltkd teach --resume {run.path} --device cpu"


def test_out_of_memory_names_the_data_where_they_take_more_than_the_batches(run):
    problem, hint = hinted(run, 50 * GB, batch_size=128)
    assert "50.0 GB" in problem
    assert hint == ("teach", "--resume", str(run.path), "--resident", "never")


@pytest.mark.parametrize(
    ("batch_size", "accumulate", "precision", "smaller"),
    [
        (128, 1, "float32", "teach --batch-size 64 --accumulate 2"),
        (129, 3, "bfloat16", "teach --batch-size 64 --accumulate 6"),
        (1, 1, "float32", "teach --precision bfloat16"),
        (1, 1, "bfloat16", "--model with a smaller network"),
    ],
)
def test_out_of_memory_names_a_new_run_that_needs_less_where_the_batch_takes_more_than_the_data(
    run, batch_size, accumulate, precision, smaller
):
    problem, hint = hinted(run, GB, batch_size, accumulate, precision)
    assert (hint if isinstance(hint, str) else " ".join(hint)).startswith(smaller)
    assert "--resume" not in hint
    assert f"{batch_size} images" in problem
