"""Batch normalisation for torch.compile is batch normalisation, gradients and counts included."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ltkd_cli.models.norm import BatchNorm2d, normalise


def random_maps(dtype=torch.float64, channels=5):
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(4, channels, 6, 7, generator=generator, dtype=dtype)
    scales = torch.arange(1, channels + 1, dtype=dtype)[:, None, None]
    return (3 * scales + scales * maps).to(memory_format=torch.channels_last)


def weights(channels=5):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(channels, generator=generator).double() for _ in range(2)]


def test_says_what_the_definition_says():
    maps, (weight, bias) = random_maps(), weights()
    said, mean, variance = normalise(maps, weight, bias, 1e-5)
    expected_mean = maps.mean((0, 2, 3))
    expected_variance = maps.var((0, 2, 3), correction=0)
    assert torch.allclose(mean, expected_mean)
    assert torch.allclose(variance, expected_variance)
    centred = maps - expected_mean[:, None, None]
    expected = centred / (expected_variance + 1e-5).sqrt()[:, None, None]
    assert torch.allclose(said, expected * weight[:, None, None] + bias[:, None, None])


def test_its_gradients_are_those_of_finite_differences():
    maps, (weight, bias) = random_maps(), weights()
    for tensor in (maps, weight, bias):
        tensor.requires_grad_()

    def outputs(*inputs):
        return normalise(*inputs, 1e-5)[0]

    assert torch.autograd.gradcheck(outputs, (maps, weight, bias))


@pytest.mark.parametrize("off", [0.0, 1.7, 300.0])
def test_channels_without_or_with_little_variance_stay_precise(off):
    weight, bias = torch.ones(5), torch.zeros(5)
    constant = torch.full((4, 5, 6, 7), off)
    said, _, variance = normalise(constant, weight, bias, 1e-5)
    assert bool((variance >= 0).all())
    assert said.abs().max() < 0.05  # of a mean that float32 rounds
    varied = random_maps(torch.float32) + 100 * off
    _, mean, variance = normalise(varied, weight, bias, 1e-5)
    exact = varied.double()
    torch.testing.assert_close(mean, exact.mean((0, 2, 3)).float(), rtol=1e-5, atol=0)
    expected = exact.var((0, 2, 3), correction=0).float()
    torch.testing.assert_close(variance, expected, rtol=1e-3, atol=0)


# torch 2.11 warns of what its own torch.compile does.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.02)])
def test_compiled_it_trains_as_the_plain_module_does(dtype, tolerance):
    torch.compiler.reset()
    own, plain = BatchNorm2d(16), nn.BatchNorm2d(16)
    compiled = torch.compile(own, backend="aot_eager")  # no C++, which takes long to compile
    target = random_maps(torch.float32, 16).flip(0)

    def run(module, maps):
        maps.requires_grad_()
        said = module(maps)
        (10 * F.mse_loss(said.float(), target)).backward()
        return said, maps.grad

    for step in range(3):
        maps = random_maps(dtype, 16) + step
        said, gradient = run(compiled, maps.clone())
        expected, expected_gradient = run(plain, maps.clone())
        assert said.dtype == dtype
        torch.testing.assert_close(said, expected, rtol=tolerance, atol=tolerance)
        largest = expected_gradient.abs().max().item()
        torch.testing.assert_close(gradient, expected_gradient, rtol=0, atol=tolerance * largest)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(own.state_dict()[name], value, rtol=1e-5, atol=1e-5)
    for mine, other in zip(own.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=tolerance, atol=1e-4)


def test_evaluation_and_plain_training_are_those_of_torch():
    own, plain = BatchNorm2d(16), nn.BatchNorm2d(16)
    maps = random_maps(torch.float32, 16)
    for training in (True, False):
        outputs = [module.train(training)(maps) for module in (own, plain)]
        assert torch.equal(*outputs)
    torch.compiler.reset()
    evaluated = torch.compile(own.eval(), backend="aot_eager")
    torch.testing.assert_close(evaluated(maps), plain(maps))
    assert own.state_dict().keys() == plain.state_dict().keys()
