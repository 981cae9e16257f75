"""The formulas of the second stages, how a strength is chosen, and the two that are trained."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ltkd_cli.errors import Diverged
from ltkd_cli.models.head import CosineHead
from ltkd_cli.rebalancing.posthoc import (
    GRID,
    balanced_accuracy,
    balanced_nll,
    fitted_temperature,
    hits,
    is_better,
    lengths_to,
    prior_to,
    sweep,
    validation_images,
    validation_rows,
)
from ltkd_cli.rebalancing.retraining import (
    CRT,
    LWS,
    MIN_BATCHES,
    label_aware_smoothing,
    recipe_for,
    retrained,
    smoothed,
    smoothed_cross_entropy,
)
from ltkd_cli.rebalancing.strategies import HOWS, TRAINED, Seen, hits_of, second_stage
from ltkd_cli.training.recipe import Recipe
from ltkd_cli.training.sampling import draw_epoch

COUNTS = torch.tensor([40, 12, 6, 3])
WIDTH = 5
SHORT = Recipe(epochs=3, batch_size=20, schedule="cosine")


@pytest.fixture
def head():
    """A linear head with a bias that favours the classes in their order."""
    generator = torch.Generator().manual_seed(1)
    layer = torch.nn.Linear(WIDTH, 4)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(4, WIDTH, generator=generator) * COUNTS[:, None] ** 0.5 / 4)
        layer.bias.copy_(COUNTS.log())
    return layer


@pytest.fixture
def seen(head):
    """Two views of every image of a long-tailed set whose classes overlap."""
    generator = torch.Generator().manual_seed(2)
    labels = torch.arange(4).repeat_interleave(COUNTS)
    noise = torch.randn(len(labels), 2, WIDTH, generator=generator)
    centres = 3 * torch.nn.functional.normalize(head.weight.detach())
    return Seen(centres[labels][:, None] + noise, labels)


def logits_of(layer, seen):
    return layer(seen.features.flatten(0, 1)).detach()


def run(how, head, seen, strength=None):
    return second_stage(how, head, seen, COUNTS, strength, seed=0)


def accuracy(head, seen):
    return balanced_accuracy(hits_of(head, seen), seen.labels)


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0, 2.0])
def test_tau_norm_divides_weights_by_powers_of_their_lengths(head, seen, strength):
    made = run("tau-norm", head, seen, strength).head
    weight = head.weight.detach().double().numpy()
    for c, row in enumerate(weight):
        wanted = row / math.sqrt(sum(x * x for x in row)) ** strength
        np.testing.assert_allclose(made.weight[c].detach().numpy(), wanted, rtol=1e-5)
    assert made.bias.eq(0).all()


def test_tau_norm_of_strength_0_keeps_the_answers_of_a_head_without_bias(head, seen):
    with torch.no_grad():
        head.bias.zero_()
    made = run("tau-norm", head, seen, 0.0).head
    assert torch.equal(logits_of(made, seen).argmax(1), logits_of(head, seen).argmax(1))


def test_a_class_without_weights_stays_without():
    weight = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    assert lengths_to(weight, 1.0).tolist() == [5.0, 1.0]


@pytest.mark.parametrize("strength", [0.0, 0.7, 1.0, 2.0])
def test_logit_adjustment_is_folded_into_the_last_layer(head, seen, strength):
    stage = run("logit-adjust", head, seen, strength)
    shares = [n / COUNTS.sum().item() for n in COUNTS.tolist()]
    prior = torch.tensor([math.log(share) for share in shares], dtype=torch.float64)
    wanted = (logits_of(head, seen).double() - strength * prior) / stage.found["temperature"]
    torch.testing.assert_close(logits_of(stage.head, seen).double(), wanted, rtol=1e-5, atol=1e-5)


def test_a_class_without_images_has_a_finite_prior():
    assert prior_to(torch.tensor([5, 0]), 1.0).isfinite().all()


def test_the_temperature_has_the_smallest_balanced_nll_of_all(head, seen):
    labels = seen.of_views()
    logits = 8 * logits_of(head, seen)  # far too sure
    fitted = fitted_temperature(logits, labels)
    smallest = balanced_nll(logits / fitted, labels)
    assert 2 < fitted < 99
    assert smallest < balanced_nll(logits, labels)
    for factor in (0.5, 0.9, 0.99, 1.01, 1.1, 2):
        assert smallest < balanced_nll(logits / (factor * fitted), labels)


def test_the_temperature_never_sharpens_answers_that_are_all_right():
    labels = torch.tensor([0, 1, 2])
    assert fitted_temperature(torch.eye(3), labels) == 1


def test_the_temperature_of_answers_that_are_all_wrong_has_an_end():
    labels = torch.tensor([1, 2, 0])
    assert fitted_temperature(1e4 * torch.eye(3), labels) == pytest.approx(100)


def test_balanced_measures_are_means_of_classes_that_are_present():
    labels = torch.tensor([0, 0, 0, 2])
    logits = torch.tensor([[2.0, 0, 0], [2, 0, 0], [0, 2, 0], [0, 0, 2]])
    assert balanced_accuracy(hits(logits, labels), labels) == pytest.approx((2 / 3 + 1) / 2)
    nll = [-row.log_softmax(0)[label].item() for row, label in zip(logits, labels, strict=True)]
    assert balanced_nll(logits, labels) == pytest.approx((sum(nll[:3]) / 3 + nll[3]) / 2)


def test_hits_are_shares_of_the_views_that_are_right():
    logits = torch.eye(3)[[0, 0, 1, 2, 2, 2, 0, 0]]  # four views of each of two images
    assert hits(logits, torch.tensor([0, 2])).tolist() == [0.5, 0.5]


def test_one_image_alone_makes_nothing_better():
    labels = torch.tensor([0] * 50 + [1])
    everything, all_but_one = torch.ones(51), torch.ones(51)
    all_but_one[-1] = 0  # and be it half of the balanced accuracy
    assert not is_better(everything.double(), all_but_one.double(), labels)


def test_more_images_make_something_better_unless_as_many_are_lost():
    labels = torch.tensor([0] * 10 + [1] * 10)
    none, some, others = torch.zeros(3, 20, dtype=torch.float64)
    some[:2], others[10:12] = 1, 1
    assert is_better(some, none, labels)
    assert not is_better(none, some, labels)
    assert not is_better(some, others, labels)


def logits_right_at(strengths, images=4):
    """All labels are 1; answers are right at some strengths only."""
    return lambda strength: torch.eye(2)[[int(strength in strengths)] * images]


def test_the_sweep_takes_the_best_strength():
    found = sweep(logits_right_at([1.5]), torch.ones(4, dtype=torch.int64))
    assert (found.chosen, found.tied) == (1.5, 1)
    assert found.accuracies == tuple(float(s == 1.5) for s in GRID)


@pytest.mark.parametrize(("right", "chosen"), [(GRID, 1.0), ((0.0, 0.2), 0.2), ((1.3, 1.9), 1.3)])
def test_of_equally_good_strengths_the_sweep_takes_the_one_closest_to_1(right, chosen):
    found = sweep(logits_right_at(right), torch.ones(4, dtype=torch.int64))
    assert (found.chosen, found.tied) == (chosen, len(right))


def test_logit_adjustment_makes_the_images_that_it_is_chosen_on_better(head, seen):
    stage = run("logit-adjust", head, seen)
    assert is_better(hits_of(stage.head, seen), hits_of(head, seen), seen.labels)


@pytest.mark.parametrize("how", ["tau-norm", "logit-adjust"])
def test_nothing_on_the_grid_is_better_than_what_was_chosen(head, seen, how):
    chosen = run(how, head, seen)
    for strength in GRID:
        other = run(how, head, seen, strength)
        assert not is_better(hits_of(other.head, seen), hits_of(chosen.head, seen), seen.labels)


@pytest.mark.parametrize("how", ["tau-norm", "logit-adjust"])
def test_the_curve_is_the_accuracy_of_every_strength(head, seen, how):
    curve = run(how, head, seen).found["curve"]
    assert [strength for strength, _ in curve] == list(GRID)
    for strength, reached in curve[::5]:
        assert accuracy(run(how, head, seen, strength).head, seen) == pytest.approx(reached)


@pytest.mark.parametrize("how", ["tau-norm", "logit-adjust"])
def test_a_given_strength_is_not_chosen_again(head, seen, how):
    found = run(how, head, seen, 0.25).found
    assert (found["strength"], found["curve"]) == (0.25, [])


def test_validation_takes_at_most_so_many_images_of_each_class():
    labels = torch.tensor([0, 2, 0, 0, 2, 0])
    rows = validation_rows(labels, 2, seed=0)
    assert torch.bincount(labels[rows]).tolist() == [2, 0, 2]
    assert rows.tolist() == sorted(set(rows.tolist()))


def test_validation_follows_from_the_seed():
    labels = torch.arange(4).repeat_interleave(50)
    one, same, other = (validation_rows(labels, 5, seed) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_every_image_can_be_drawn_for_validation():
    labels = torch.zeros(8, dtype=torch.int64)
    drawn = {int(validation_rows(labels, 1, seed)) for seed in range(200)}
    assert drawn == set(range(8))


def test_many_classes_give_fewer_validation_images_each():
    assert validation_images(10, 8) == 100
    assert 1 < validation_images(1000, 8) < 100
    assert validation_images(8142, 8) == 1


def test_lws_only_scales_the_rows(head, seen):
    stage = run("lws", head, seen)
    scales = torch.tensor(stage.found["scales"])
    torch.testing.assert_close(stage.head.weight, head.weight * scales[:, None])
    torch.testing.assert_close(stage.head.bias, head.bias * scales)
    assert scales.std() > 0.05


@pytest.mark.parametrize("how", TRAINED)
def test_trained_stages_learn_to_be_fair(head, seen, how):
    stage = run(how, head, seen)
    assert accuracy(stage.head, seen) > accuracy(head, seen)


def test_crt_reaches_the_class_balanced_optimum(head, seen):
    """The recipe is long enough: what is left of the gradient is small beside that at 0."""
    made = run("crt", head, seen).head
    labels = seen.labels.repeat_interleave(2)
    balance = 1 / COUNTS.double()[labels] / len(COUNTS) / 2
    features = seen.features.flatten(0, 1).double()
    weight = made.weight.detach().double()

    def gradient(weight, logits):
        errors = logits.softmax(1) - torch.eye(4, dtype=torch.float64)[labels]
        return (errors * balance[:, None]).T @ features + CRT.weight_decay * weight

    at_start = gradient(0 * weight, torch.zeros(len(labels), 4, dtype=torch.float64))
    left = gradient(weight, logits_of(made, seen).double())
    assert left.norm() < 0.02 * at_start.norm()


def short_crt(head, seen, seed=0):
    return retrained(head, seen.features, seen.labels, SHORT, seed)


def test_crt_begins_anew(head, seen):
    made = short_crt(head, seen)
    with torch.no_grad():
        head.weight.mul_(-5)
    assert torch.equal(made.weight, short_crt(head, seen).weight)


def test_crt_follows_from_the_seed(head, seen):
    one, same, other = (short_crt(head, seen, seed) for seed in (1, 1, 2))
    assert torch.equal(one.weight, same.weight)
    assert not torch.equal(one.weight, other.weight)


def test_crt_leaves_the_global_generator_alone(head, seen):
    before = torch.get_rng_state()
    short_crt(head, seen)
    assert torch.equal(torch.get_rng_state(), before)


def test_features_that_cannot_be_learned_from_are_said(head, seen):
    with pytest.raises(Diverged):
        short_crt(head, Seen(seen.features * math.inf, seen.labels))


def test_crt_gives_a_cosine_head_for_a_cosine_head(seen):
    head = CosineHead(WIDTH, 4, scale=8.0)
    made = run("crt", head, seen).head
    assert isinstance(made, CosineHead)
    assert made.scale == 8
    assert accuracy(made, seen) > 0.8


def test_label_aware_smoothing_rises_with_the_sine_of_the_class_size():
    found = label_aware_smoothing(torch.tensor([101, 1, 51]), 0.3)
    assert found.tolist() == pytest.approx([0.3, 0, 0.3 * math.sin(math.pi / 4)])
    assert label_aware_smoothing(torch.tensor([7, 7]), 0.3).tolist() == [0, 0]


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


def test_mislas_trains_on_from_the_head_at_a_tenth_of_the_rate_of_its_scales(head, seen):
    one_step = Recipe(epochs=1, batch_size=1000, learning_rate=0.2, schedule="constant")
    recipe = replace(one_step, momentum=0.0, weight_decay=0.0)
    made, scales = smoothed(head, seen.features, seen.labels, recipe, torch.zeros(4), seed=0)
    draws = draw_epoch(seen.labels, "class-balanced", 0, 0, torch.full_like(seen.labels, 2))
    features = seen.features[draws.rows, draws.views]
    ones = torch.ones(4, requires_grad=True)
    loss = F.cross_entropy(ones * head(features), seen.labels[draws.rows])
    by_scale, by_weight = torch.autograd.grad(loss, [ones, head.weight])
    torch.testing.assert_close(scales, 1 - 0.2 * by_scale)
    torch.testing.assert_close(made.weight, head.weight - 0.02 * by_weight)


def test_smoothing_makes_answers_for_large_classes_less_sure(head, seen):
    sure, unsure = (run("mislas", head, seen, strength).head for strength in (0.0, 0.6))
    of_largest = seen.labels.repeat_interleave(2) == 0
    confidence = [
        logits_of(layer, seen)[of_largest].softmax(1)[:, 0].mean() for layer in (sure, unsure)
    ]
    assert confidence[1] < confidence[0] - 0.02


@pytest.mark.parametrize("how", HOWS)
def test_the_head_itself_stays_as_it_is(head, seen, how):
    before = {name: value.clone() for name, value in head.state_dict().items()}
    run(how, head, seen)
    for name, value in head.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("how", HOWS)
def test_features_of_any_size_stay_finite(head, seen, how):
    stage = run(how, head, Seen(1e-6 * seen.features, seen.labels))
    assert all(value.isfinite().all() for value in stage.head.state_dict().values())


def test_small_sets_get_more_epochs_and_large_ones_those_of_the_source():
    assert recipe_for(CRT, 115_846) == CRT
    small = recipe_for(LWS, 453)
    assert small.epochs == LWS.epochs * MIN_BATCHES
    assert recipe_for(Recipe(epochs=2, batch_size=10), 151).epochs == 4
