"""The training loop on a small network and the embedded digits."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from small_training import SHORT, loader_of, run, start, weights_of
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ltkd_cli.errors import Diverged
from ltkd_cli.events import EpochEnd, Step
from ltkd_cli.training.loop import train
from ltkd_cli.training.recipe import Recipe
from ltkd_cli.training.state import load_state, save_state
from ltkd_cli.views.policy import Policy


def test_learns(digits):
    recipe = Recipe(epochs=8, batch_size=32, learning_rate=0.1, schedule="cosine")
    ends = [e for e in run(start(digits, recipe), digits, recipe) if isinstance(e, EpochEnd)]
    assert ends[-1].terms["label"] < 0.5 * ends[0].terms["label"]


def test_reports_every_batch_and_the_mean_of_each_term(digits):
    events = run(start(digits, SHORT), digits, SHORT)
    batches = math.ceil(len(digits.train.labels) / 64)
    assert [e.batch for e in events if isinstance(e, Step)] == [*range(1, batches + 1)] * 3
    assert [e.epoch for e in events if isinstance(e, EpochEnd)] == [1, 2, 3]


def test_stopped_at_any_step_it_goes_on_to_the_same_weights_bit_for_bit(digits, tmp_path):
    recipe = replace(SHORT, average_decay=0.5)
    uninterrupted = start(digits, recipe)
    whole = run(uninterrupted, digits, recipe)
    total = sum(isinstance(event, Step) for event in whole)
    for stop_after in (1, total // 2, total - 1):
        calls = iter(range(1, total + 2))
        first = start(digits, recipe)
        run(first, digits, recipe, stop=lambda calls=calls, n=stop_after: next(calls) >= n)
        save_state(first, tmp_path / "state.pt")
        second = start(digits, recipe)
        load_state(second, tmp_path / "state.pt")
        rest = run(second, digits, recipe)
        assert torch.equal(weights_of(second), weights_of(uninterrupted))
        averages = second.final_network, uninterrupted.final_network
        for kept, wanted in zip(*(each.parameters() for each in averages), strict=True):
            assert torch.equal(kept, wanted)
        assert rest[-1].terms == whole[-1].terms


def test_stopped_on_the_way_it_goes_on_with_the_dropout_of_an_uninterrupted_one(digits, tmp_path):
    recipe = replace(SHORT, epochs=2, batch_size=256)

    def begun(seed):
        training = start(digits, recipe)
        training.network.backbone = nn.Sequential(training.network.backbone, nn.Dropout())
        torch.manual_seed(seed)
        return training

    uninterrupted, first = begun(0), begun(0)
    run(uninterrupted, digits, recipe)
    torch.manual_seed(0)
    run(first, digits, recipe, stop=lambda: first.epoch == 1)
    save_state(first, tmp_path / "state.pt")
    second = begun(99)
    load_state(second, tmp_path / "state.pt")
    run(second, digits, recipe)
    assert torch.equal(weights_of(second), weights_of(uninterrupted))


def test_accumulating_halves_of_a_batch_is_nearly_the_whole_batch(digits):
    # Batch normalisation sees the halves apart, so the two are close and not equal.
    whole = Recipe(epochs=1, batch_size=128, learning_rate=1e-3, schedule="constant", momentum=0)
    parts = Recipe(
        epochs=1, batch_size=64, accumulate=2, learning_rate=1e-3, schedule="constant", momentum=0
    )
    ends = [
        run(start(digits, recipe), digits, recipe)[-1].terms["label"] for recipe in (whole, parts)
    ]
    assert ends[0] == pytest.approx(ends[1], rel=0.05)


def test_accumulation_takes_one_optimiser_step_for_its_batches(digits):
    recipe = Recipe(epochs=1, batch_size=16, accumulate=1000, learning_rate=1e-3, momentum=0.0,
                    weight_decay=0.0, schedule="constant")  # fmt: skip
    training = start(digits, recipe)
    before = [p.detach().clone() for p in training.network.parameters()]
    gradients = []
    training.optimizer.register_step_pre_hook(
        lambda *_: gradients.append([p.grad.clone() for p in training.network.parameters()])
    )
    run(training, digits, recipe)
    assert len(gradients) == 1
    fresh, loader = start(digits, recipe), loader_of(digits)
    batches = list(loader.batches(loader.sample_epoch("instance", 0, 0), 16, 0, epoch=0, epochs=1))
    losses = [
        len(images) * fresh.method(fresh.network(images), batch)["label"]
        for images, batch in batches
    ]
    mean = torch.stack(losses).sum() / sum(len(images) for images, _ in batches)
    expected = torch.autograd.grad(mean, list(fresh.network.parameters()))
    for found, wanted in zip(gradients[0], expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-5)
    for old, new, gradient in zip(before, training.network.parameters(), gradients[0], strict=True):
        assert torch.allclose(new, old - 1e-3 * gradient, atol=1e-7)


def test_each_step_has_the_rate_of_its_batch_and_the_momentum_of_the_recipe(digits):
    recipe = Recipe(epochs=4, batch_size=128, learning_rate=0.4, momentum=0.7, nesterov=True,
                    schedule="cosine", warmup_epochs=1, warmup_start=0.5)  # fmt: skip
    training, seen = start(digits, recipe), []
    training.optimizer.register_step_pre_hook(
        lambda optimizer, *_: seen.append({**optimizer.param_groups[0]})
    )
    events = run(training, digits, recipe)
    total = 4 * math.ceil(len(digits.train.labels) / 128)
    rates = [0.2 * (1 + math.cos(math.pi * step / total)) for step in range(total)]
    rates[: total // 4] = [rate / 2 for rate in rates[: total // 4]]
    assert [group["lr"] for group in seen] == pytest.approx(rates)
    assert {(group["momentum"], group["nesterov"]) for group in seen} == {(0.7, True)}
    told = [event.learning_rate for event in events if isinstance(event, EpochEnd)]
    assert told == pytest.approx(rates[:: total // 4])


def test_clips_the_norm_of_the_gradient(digits):
    recipe = Recipe(epochs=1, batch_size=64, clip_norm=0.01, learning_rate=0.1)
    training = start(digits, recipe)
    norms = []
    training.optimizer.register_step_pre_hook(
        lambda *_: norms.append(
            torch.linalg.vector_norm(
                torch.cat([p.grad.flatten() for p in training.network.parameters()])
            )
        )
    )
    run(training, digits, recipe)
    assert max(norms) <= 0.01 * 1.001


def test_keeps_the_moving_average_of_the_weights(digits):
    recipe = Recipe(epochs=1, batch_size=64, average_decay=0.5, learning_rate=0.05)
    training = start(digits, recipe)
    expected, seen = None, 0
    for event in train(training, loader_of(digits), recipe, 0, "float32"):
        if isinstance(event, Step):
            now = training.network.head.weight.detach().clone()
            expected = now if seen == 0 else 0.5 * expected + 0.5 * now
            seen += 1
    assert torch.allclose(training.final_network.head.weight, expected, atol=1e-6)
    assert not torch.equal(training.final_network.head.weight, training.network.head.weight)


def test_what_is_frozen_is_left_alone_by_the_moving_average(digits):
    recipe = Recipe(epochs=1, batch_size=256, average_decay=0.9, learning_rate=0.05)
    training = start(digits, recipe)
    training.network.backbone.requires_grad_(False)
    for kept in training.average.module.backbone.parameters():
        kept.data.fill_(7)
    run(training, digits, recipe)
    assert all((kept == 7).all() for kept in training.final_network.backbone.parameters())
    assert not torch.equal(training.final_network.head.weight, training.network.head.weight)


def test_the_moving_average_is_that_of_torch_bit_for_bit(digits):
    recipe = Recipe(epochs=1, batch_size=256, average_decay=0.9, learning_rate=0.05)
    training = start(digits, recipe)
    blend = get_ema_multi_avg_fn(0.9)
    expected = AveragedModel(training.network, multi_avg_fn=blend, use_buffers=True)
    for event in train(training, loader_of(digits), recipe, 0, "float32"):
        if isinstance(event, Step):
            expected.update_parameters(training.network)
    kept, wanted = training.average.state_dict(), expected.state_dict()
    assert kept.keys() == wanted.keys()
    assert all(torch.equal(kept[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("policy", ["crop+mixup:1", "crop+mixup:0.8:0.5+cutmix:1"])
def test_the_loss_of_mixtures_is_that_of_both_labels_by_their_shares(digits, policy):
    recipe = Recipe(epochs=1, batch_size=1000, learning_rate=0.05)
    loader = replace(loader_of(digits), policy=Policy(policy))
    end = list(train(start(digits, recipe), loader, recipe, 0, "float32"))[-1]
    sampled = loader.sample_epoch("instance", 0, 0)  # the only batch has all images
    images, batch = next(loader.batches(sampled, 1000, 0, epoch=0, epochs=1))
    own, partners = batch.labels, batch.partners
    shares = F.one_hot(own, 10) * partners.shares[:, None]
    shares = shares + F.one_hot(partners.labels, 10) * (1 - partners.shares[:, None])
    logits = start(digits, recipe).network.train()(images)["logits"]
    expected = F.cross_entropy(logits, shares)  # by torch, of probabilities
    assert end.terms["label"] == pytest.approx(float(expected.detach()), rel=1e-5)
    assert end.terms["label"] != pytest.approx(
        float(F.cross_entropy(logits, own).detach()), rel=1e-3
    )


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_convolves_in_the_precision_that_is_asked_for(digits, precision):
    training, seen = start(digits, SHORT), []
    training.network.backbone.conv.register_forward_hook(
        lambda layer, inputs, output: seen.append(output.dtype)
    )
    run(training, digits, SHORT, stop=lambda: True, precision=precision)
    assert seen == [getattr(torch, precision)]


def test_computes_losses_in_float32_of_outputs_in_bfloat16(digits):
    training, seen = start(digits, SHORT), []
    training.forward = lambda images: {
        name: value.bfloat16() for name, value in training.network(images).items()
    }
    training.method.register_forward_hook(
        lambda _, inputs, terms: seen.append((inputs[0]["logits"].dtype, terms["label"].dtype))
    )
    run(training, digits, SHORT, stop=lambda: True, precision="bfloat16")
    assert seen == [(torch.float32, torch.float32)]


def test_a_loss_that_is_not_finite_stops_with_the_batch_named(digits):
    recipe = Recipe(epochs=1, batch_size=64, learning_rate=0.05)
    training = start(digits, recipe)
    with torch.no_grad():
        training.network.head.bias[0] = math.inf
    first_row = int(loader_of(digits).sample_epoch("instance", 0, 0).rows[0])
    with pytest.raises(Diverged, match=rf"batch 1 in epoch 1\b.*\b{first_row}\b"):
        run(training, digits, recipe)


def test_a_loss_that_is_not_finite_changes_no_weight(digits):
    recipe = Recipe(epochs=1, batch_size=64, learning_rate=0.05)
    training = start(digits, recipe)
    with torch.no_grad():
        training.network.head.bias[0] = math.inf
    before = [parameter.clone() for parameter in training.network.parameters()]
    with pytest.raises(Diverged):
        run(training, digits, recipe)
    after = training.network.parameters()
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))


def test_the_means_of_the_terms_are_over_the_images_that_were_seen(digits):
    rows = len(digits.train.labels)
    size = next(s for s in range(16, rows) if rows % s == 1)
    recipe = Recipe(epochs=1, batch_size=size, learning_rate=1e-9)
    training, seen = start(digits, recipe), []
    training.method.register_forward_hook(
        lambda _, inputs, terms: seen.append((len(inputs[1].labels), terms["label"].item()))
    )
    end = run(training, digits, recipe)[-1]
    assert sum(images for images, _ in seen) == rows - 1
    mean = sum(images * term for images, term in seen) / (rows - 1)
    assert end.terms["label"] == pytest.approx(mean)
