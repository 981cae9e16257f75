"""Classifier re-training: what is trained, from where, and how far."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from overlapping_classes import (
    COUNTS,
    WIDTH,
    accuracy,
    adjusted,
    finished,
    logits_of,
    rebalanced,
    retrained,
)
from torch.nn import functional as F

from ltkd_cli import models
from ltkd_cli.data import DataSpec, load
from ltkd_cli.errors import Diverged
from ltkd_cli.events import Retrained
from ltkd_cli.models import ModelSpec
from ltkd_cli.models.head import CosineHead
from ltkd_cli.rebalancing.features import Features, drawn_anew, fixed
from ltkd_cli.rebalancing.recipes import FAST, KANG, MISLAS, Retraining, resolve
from ltkd_cli.rebalancing.retraining import (
    AfterEpoch,
    label_aware_smoothing,
    retrain,
    smooth,
    smoothed_cross_entropy,
)
from ltkd_cli.rebalancing.strategies import RETRAINED, STRATEGIES, retrain_head
from ltkd_cli.training.features import each
from ltkd_cli.training.recipe import Recipe
from ltkd_cli.training.sampling import draw_epoch
from ltkd_cli.views.policy import Policy, render, to_float
from ltkd_cli.views.reader import Request

CPU = torch.device("cpu")
ONE_STEP = Recipe(
    epochs=1, batch_size=1000, learning_rate=0.2, schedule="constant", momentum=0.0,
    weight_decay=0.0,
)  # fmt: skip


def short_crt(head, features, seed=0):
    return retrained("crt", head, features, seed, epochs=3, batch_size=20).head


def test_lws_only_scales_the_rows(head, features):
    made = retrained("lws", head, features)
    scales = torch.tensor(made.found["scales"])
    torch.testing.assert_close(made.head.weight, head.weight * scales[:, None])
    torch.testing.assert_close(made.head.bias, head.bias * scales)
    assert scales.std() > 0.05


@pytest.mark.parametrize("strategy", RETRAINED)
def test_re_trained_classifiers_are_fairer(head, features, strategy):
    made = retrained(strategy, head, features)
    assert accuracy(made.head, features) > accuracy(head, features)


def test_crt_reaches_the_class_balanced_optimum(head, features):
    """The recipe is long enough: what is left of the gradient is small beside that at 0."""
    made = retrained("crt", head, features).head
    labels = features.labels_of_views()
    balance = 1 / COUNTS.double()[labels] / len(COUNTS) / 2
    values = features.flat().double()
    weight = made.weight.detach().double()

    def gradient(weight, logits):
        errors = logits.softmax(1) - torch.eye(4, dtype=torch.float64)[labels]
        return (errors * balance[:, None]).T @ values + KANG.recipe.weight_decay * weight

    at_start = gradient(0 * weight, torch.zeros(len(labels), 4, dtype=torch.float64))
    left = gradient(weight, logits_of(made, features).double())
    assert left.norm() < 0.02 * at_start.norm()


def test_crt_begins_anew(head, features):
    made = short_crt(head, features)
    with torch.no_grad():
        head.weight.mul_(-5)
    assert torch.equal(made.weight, short_crt(head, features).weight)


def test_crt_begins_as_pytorch_begins_a_linear_layer():
    wide = torch.nn.Linear(400, 300)
    features = Features(torch.zeros(600, 1, 400), torch.arange(300).repeat(2))
    none = Retraining(replace(ONE_STEP, learning_rate=1e-12))
    begun = finished(retrain(wide, fixed(features), none, seed=5))
    bound = 1 / math.sqrt(400)
    for own, pytorch in ((begun.weight, wide.weight), (begun.bias, wide.bias)):
        assert own.abs().max() <= bound
        assert own.std().item() == pytest.approx(pytorch.std().item(), rel=0.1)
        assert own.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)


def test_crt_follows_from_the_seed(head, features):
    one, same, other = (short_crt(head, features, seed) for seed in (1, 1, 2))
    assert torch.equal(one.weight, same.weight)
    assert not torch.equal(one.weight, other.weight)


def test_crt_leaves_the_global_generator_alone(head, features):
    before = torch.get_rng_state()
    short_crt(head, features)
    assert torch.equal(torch.get_rng_state(), before)


def test_features_that_cannot_be_learned_from_are_refused(head, features):
    with pytest.raises(Diverged):
        short_crt(head, Features(features.values * math.inf, features.labels))


def test_crt_gives_a_cosine_head_for_a_cosine_head(features):
    head = CosineHead(WIDTH, 4, scale=8.0)
    made = retrained("crt", head, features).head
    assert isinstance(made, CosineHead)
    assert made.scale == 8
    assert accuracy(made, features) > 0.8


def test_label_aware_smoothing_rises_with_the_sine_of_the_class_size():
    counts = torch.tensor([101, 1, 51])
    half = math.sin(math.pi / 4)
    assert label_aware_smoothing(counts, 0.3).tolist() == pytest.approx([0.3, 0, 0.3 * half])
    found = label_aware_smoothing(counts, 0.4, 0.1).tolist()
    assert found == pytest.approx([0.4, 0.1, 0.1 + 0.3 * half])
    assert label_aware_smoothing(torch.tensor([7, 7]), 0.3, 0.1).tolist() == [0.1, 0.1]


def test_smoothed_cross_entropy_follows_its_definition():
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    labels, smoothing = torch.tensor([2, 0, 3]), torch.tensor([0.3, 0.0, 0.1]).double()
    wanted = 0
    for row, label, share in zip(logits, labels.tolist(), smoothing.tolist(), strict=True):
        shares = row.exp() / row.exp().sum()
        everyone = -sum(p.log() for p in shares) / 4
        wanted = wanted + (-(1 - share) * shares[label].log() + share * everyone) / 3
    found = smoothed_cross_entropy(logits, labels, smoothing)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(
        torch.autograd.grad(found, logits), torch.autograd.grad(wanted, logits)
    )


def test_mislas_trains_on_from_the_head_at_a_share_of_the_rate_of_its_scales(head, features):
    how = replace(MISLAS, recipe=ONE_STEP, classifier_share=0.1)
    made, scales = finished(smooth(head, fixed(features), how, torch.zeros(4), seed=0))
    two = torch.full_like(features.labels, 2)
    draws = draw_epoch(features.labels, "class-balanced", 0, 0, two)
    values = features.values[draws.rows, draws.views]
    ones = torch.ones(4, requires_grad=True)
    loss = F.cross_entropy(ones * head(values), features.labels[draws.rows])
    by_scale, by_weight = torch.autograd.grad(loss, [ones, head.weight])
    torch.testing.assert_close(scales, 1 - 0.2 * by_scale)
    trained = head.weight - 0.02 * by_weight
    torch.testing.assert_close(made.weight, scales[:, None] * trained)


@pytest.mark.parametrize("end", ["smooth_head", "smooth_tail"])
def test_smoothing_makes_the_network_less_confident_about_its_class(head, features, end):
    of_class = features.labels_of_views() == (0 if end == "smooth_head" else 3)
    options = {"smooth_head": 0.0, "smooth_tail": 0.0, "classifier_share": 0.5}
    plain, smoothed = (
        retrained("mislas", head, features, **options | {end: smoothing}).head
        for smoothing in (0.0, 0.6)
    )
    confidence = [
        logits_of(layer, features)[of_class].softmax(1).amax(1).mean()
        for layer in (plain, smoothed)
    ]
    assert confidence[1] < confidence[0] - 0.02


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_head_itself_stays_as_it_is(head, features, strategy):
    before = {name: value.clone() for name, value in head.state_dict().items()}
    rebalanced(strategy, head, features)
    for name, value in head.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_features_of_any_size_stay_finite(head, features, strategy):
    made = rebalanced(strategy, head, Features(1e-6 * features.values, features.labels))
    assert all(value.isfinite().all() for value in made.head.state_dict().values())


def test_a_re_trained_head_is_another_than_an_adjusted_one(head, features):
    assert not torch.equal(
        retrained("crt", head, features).head.weight,
        adjusted("tau-norm", head, features).head.weight,
    )


def sizes_of_batches(rows, size, *, drop_last):
    """Sizes of the batches that two epochs of a re-training ask features for."""
    asked = []

    def of(rows, views):
        asked.append(len(rows))
        return torch.zeros(len(rows), WIDTH)

    how = Retraining(replace(ONE_STEP, epochs=2, batch_size=size, drop_last=drop_last))
    source = each(torch.arange(rows) % 2, None, of)
    events = list(retrain(torch.nn.Linear(WIDTH, 2), source, how, seed=0))
    assert [type(event) for event in events].count(Retrained) == len(asked)
    return asked


@pytest.mark.parametrize(
    ("rows", "drop_last", "sizes"),
    [
        (9, False, [4, 4]),  # one image alone has no batch statistics
        (10, False, [4, 4, 2]),
        (10, True, [4, 4]),
        (8, True, [4, 4]),
        (3, True, [3]),
    ],
)
def test_an_epoch_has_the_batches_that_the_recipe_says(rows, drop_last, sizes):
    assert sizes_of_batches(rows, 4, drop_last=drop_last) == sizes * 2


@pytest.mark.parametrize("strategy", RETRAINED)
def test_the_head_after_an_epoch_is_that_of_a_re_training_which_ends_there(
    head, features, strategy
):
    """The fast recipe with a rate that holds still, so that the end decides nothing else."""
    how = resolve(strategy, FAST, {"epochs": 3}, len(features.labels))
    how = replace(how, recipe=replace(how.recipe, schedule="constant"))
    seen = {}
    for step in retrain_head(strategy, head, fixed(features), COUNTS, how, seed=0):
        if isinstance(step, AfterEpoch):
            seen[step.epoch] = copy.deepcopy(step.head())
    assert list(seen) == [1, 2, 3]
    for epochs, found in seen.items():
        shorter = replace(how, recipe=replace(how.recipe, epochs=epochs))
        ended = finished(retrain_head(strategy, head, fixed(features), COUNTS, shorter, seed=0))
        assert torch.equal(found.weight, ended.head.weight)
        assert torch.equal(found.bias, ended.head.bias)
    assert not torch.equal(seen[1].weight, seen[3].weight)


@pytest.fixture(scope="module")
def digits():
    return load(DataSpec()).train


@pytest.fixture
def network(digits):
    spec = ModelSpec("resnet8", 10, mean=(0.5,) * 3, std=(0.25,) * 3)
    return models.build(spec, seed=0)


def test_moving_statistics_are_those_of_a_network_in_training(network, digits):
    trained = copy.deepcopy(network).train()
    source = drawn_anew(network, digits, Policy("none"), CPU, moving_statistics=True)
    rows = torch.arange(0, 64)
    (found,) = source.of([Request(rows, torch.zeros_like(rows))])
    with torch.no_grad():
        wanted = trained(digits.images.gather(rows).float() / 255)["features"]
    torch.testing.assert_close(found, wanted)
    for name, value in trained.state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], value)


def test_moving_statistics_are_of_one_batch_after_the_other(network, digits):
    trained = copy.deepcopy(network).train()
    source = drawn_anew(network, digits, Policy("none"), CPU, moving_statistics=True)
    rows = torch.arange(0, 96)
    requests = [Request(part, torch.zeros_like(part)) for part in rows.split(32)]
    for request, found in zip(requests, source.of(requests), strict=True):
        with torch.no_grad():
            wanted = trained(digits.images.gather(request.rows).float() / 255)["features"]
        torch.testing.assert_close(found, wanted)
    tracked = [v for name, v in network.state_dict().items() if name.endswith("batches_tracked")]
    assert {int(count) for count in tracked} == {3}


def test_new_views_by_fixed_statistics_are_computed_as_in_evaluation(network, digits):
    before = copy.deepcopy(network.state_dict())
    policy, rows = Policy("crop"), torch.arange(64)
    source = drawn_anew(network, digits, policy, CPU, moving_statistics=False)
    assert source.views is None
    for views in (torch.full_like(rows, 3), torch.full_like(rows, 1000)):
        (found,) = source.of([Request(rows, views)])
        drawn = render(digits.images.gather, rows, views, policy, len(digits.images))
        with torch.no_grad():
            wanted = network(to_float(drawn.images))["features"]
        torch.testing.assert_close(found, wanted)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_moving_statistics_change_no_weight_and_leave_the_network_in_evaluation(network, digits):
    before = copy.deepcopy(network.state_dict())
    source = drawn_anew(network, digits, Policy("crop"), CPU, moving_statistics=True)
    (_,) = source.of([Request(torch.arange(64), torch.arange(64))])
    changed = {k for k, v in network.state_dict().items() if not torch.equal(v, before[k])}
    assert changed
    assert {name.rpartition(".")[2] for name in changed} == {
        *("running_mean", "running_var", "num_batches_tracked"),
    }
    assert not any(layer.training for layer in network.modules())
