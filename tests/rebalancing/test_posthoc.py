"""Post-hoc adjustment: its formulas, and how strength and temperature are chosen."""

import math

import numpy as np
import pytest
import torch
from overlapping_classes import COUNTS, accuracy, adjusted, logits_of
from torch.utils._python_dispatch import TorchDispatchMode

from ltkd_cli.rebalancing import strategies
from ltkd_cli.rebalancing.features import Features
from ltkd_cli.rebalancing.posthoc import (
    GRID,
    balanced_accuracy,
    balanced_nll,
    correct_views,
    fitted_temperature,
    is_better,
    lengths_to,
    prior_to,
    sweep,
    validation_images,
    validation_rows,
)
from ltkd_cli.rebalancing.strategies import correct_of


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0, 2.0])
def test_tau_norm_divides_weights_by_powers_of_their_lengths(head, features, strength):
    made = adjusted("tau-norm", head, features, strength).head
    weight = head.weight.detach().double().numpy()
    for c, row in enumerate(weight):
        wanted = row / math.sqrt(sum(x * x for x in row)) ** strength
        np.testing.assert_allclose(made.weight[c].detach().numpy(), wanted, rtol=1e-5)
    assert made.bias.eq(0).all()


def test_tau_norm_of_strength_0_keeps_the_predictions_of_a_head_without_bias(head, features):
    with torch.no_grad():
        head.bias.zero_()
    made = adjusted("tau-norm", head, features, 0.0).head
    assert torch.equal(logits_of(made, features).argmax(1), logits_of(head, features).argmax(1))


def test_a_class_without_weights_stays_without():
    weight = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    assert lengths_to(weight, 1.0).tolist() == [5.0, 1.0]


@pytest.mark.parametrize("strength", [0.0, 0.7, 1.0, 2.0])
def test_logit_adjustment_is_folded_into_the_last_layer(head, features, strength):
    made = adjusted("logit-adjust", head, features, strength)
    shares = [n / COUNTS.sum().item() for n in COUNTS.tolist()]
    prior = torch.tensor([math.log(share) for share in shares], dtype=torch.float64)
    wanted = (logits_of(head, features).double() - strength * prior) / made.found["temperature"]
    found = logits_of(made.head, features).double()
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_a_class_without_images_has_a_finite_prior():
    assert prior_to(torch.tensor([5, 0]), 1.0).isfinite().all()


def test_the_temperature_has_the_smallest_balanced_nll_of_all(head, features):
    labels = features.labels_of_views()
    logits = 8 * logits_of(head, features)  # far too confident
    fitted = fitted_temperature(lambda: [logits], labels)
    smallest = balanced_nll(logits / fitted, labels)
    assert 2 < fitted < 99
    assert smallest < balanced_nll(logits, labels)
    for factor in (0.5, 0.9, 0.99, 1.01, 1.1, 2):
        assert smallest < balanced_nll(logits / (factor * fitted), labels)


def test_the_temperature_never_sharpens_predictions_that_are_all_correct():
    labels = torch.tensor([0, 1, 2])
    assert fitted_temperature(lambda: [torch.eye(3)], labels) == 1


def test_the_temperature_of_predictions_that_are_all_wrong_has_an_end():
    labels = torch.tensor([1, 2, 0])
    assert fitted_temperature(lambda: [1e4 * torch.eye(3)], labels) == pytest.approx(100)


def halved_temperature(logits, labels):
    """The slope of the mean loss at 1 / temperature, and the range halved until nothing is left."""
    logits = logits.double().numpy()
    of_label = logits[np.arange(len(labels)), labels]
    counts = np.bincount(labels)
    weights = 1 / counts[labels] / (counts > 0).sum()

    def slope(inverse):
        masses = np.exp(inverse * (logits - logits.max(1, keepdims=True)))
        means = (masses * logits).sum(1) / masses.sum(1)
        return ((means - of_label) * weights).sum()

    low, high = 0.01, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return 1 / high


@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0, 30.0, 200.0, 3000.0])
@pytest.mark.parametrize("knowledge", [0.0, 1.0, 3.0])
def test_the_temperature_is_where_the_slope_of_the_loss_is_zero(scale, knowledge):
    generator = torch.Generator().manual_seed(3)
    labels = torch.arange(6).repeat_interleave(torch.tensor([50, 20, 9, 4, 2, 1]))
    noise = torch.randn(len(labels), 6, generator=generator)
    logits = scale * (noise + knowledge * torch.eye(6)[labels])
    passes = []

    def blocks():
        passes.append(1)
        return logits.split(17)

    fitted = fitted_temperature(blocks, labels)
    assert fitted == pytest.approx(halved_temperature(logits, labels), rel=1e-9)
    assert len(passes) < 20


def test_balanced_measures_are_means_of_classes_that_are_present():
    labels = torch.tensor([0, 0, 0, 2])
    logits = torch.tensor([[2.0, 0, 0], [2, 0, 0], [0, 2, 0], [0, 0, 2]])
    correct = correct_views(logits.argmax(1), labels)
    assert balanced_accuracy(correct, labels) == pytest.approx((2 / 3 + 1) / 2)
    nll = [-row.log_softmax(0)[label].item() for row, label in zip(logits, labels, strict=True)]
    assert balanced_nll(logits, labels) == pytest.approx((sum(nll[:3]) / 3 + nll[3]) / 2)


def test_correct_views_are_shares_of_the_views_of_an_image():
    predicted = torch.tensor([0, 0, 1, 2, 2, 2, 0, 0])  # four views of each of two images
    assert correct_views(predicted, torch.tensor([0, 2])).tolist() == [0.5, 0.5]


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


def swept(strengths, images=4):
    """A sweep in which all labels are 1; predictions are correct at some strengths only."""
    return sweep(
        lambda: torch.zeros(images, 2).split(3),
        lambda logits, strength: logits + torch.eye(2)[int(strength in strengths)],
        torch.ones(images, dtype=torch.int64),
    )


def test_the_sweep_takes_the_best_strength():
    found = swept([1.5])
    assert (found.chosen, found.tied) == (1.5, 1)
    assert found.accuracies == tuple(float(s == 1.5) for s in GRID)


@pytest.mark.parametrize(("correct", "chosen"), [(GRID, 1.0), ((0.0, 0.2), 0.2), ((1.3, 1.9), 1.3)])
def test_of_equally_good_strengths_the_sweep_takes_the_one_closest_to_1(correct, chosen):
    found = swept(correct)
    assert (found.chosen, found.tied) == (chosen, len(correct))


def test_logit_adjustment_makes_the_images_that_it_is_chosen_on_better(head, features):
    made = adjusted("logit-adjust", head, features)
    assert is_better(correct_of(made.head, features), correct_of(head, features), features.labels)


@pytest.mark.parametrize("strategy", ["tau-norm", "logit-adjust"])
def test_nothing_on_the_grid_is_better_than_what_was_chosen(head, features, strategy):
    chosen = adjusted(strategy, head, features)
    for strength in GRID:
        other = adjusted(strategy, head, features, strength)
        correct = [correct_of(made.head, features) for made in (other, chosen)]
        assert not is_better(*correct, features.labels)


@pytest.mark.parametrize("strategy", ["tau-norm", "logit-adjust"])
def test_the_curve_is_the_accuracy_of_every_strength(head, features, strategy):
    curve = adjusted(strategy, head, features).found["curve"]
    assert [strength for strength, _ in curve] == list(GRID)
    for strength, reached in curve[::5]:
        made = adjusted(strategy, head, features, strength)
        assert accuracy(made.head, features) == pytest.approx(reached)


@pytest.mark.parametrize("strategy", ["tau-norm", "logit-adjust"])
def test_a_given_strength_is_not_chosen_again(head, features, strategy):
    found = adjusted(strategy, head, features, 0.25).found
    assert (found["strength"], found["curve"]) == (0.25, [])


def test_the_temperature_is_found_where_a_step_would_leave_its_range():
    """With many classes, the loss is almost linear in 1 / temperature near T = 100."""
    logits = 40 * torch.eye(3000)[[0] * 8 + [1] * 2]  # four of five are predicted correctly
    labels = torch.zeros(10, dtype=torch.int64)
    wanted = 40 / math.log(4 * 2999)
    assert fitted_temperature(lambda: [logits], labels) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("strategy", ["tau-norm", "logit-adjust"])
@pytest.mark.parametrize("limit", [1, 28])  # one view at a time, and seven
def test_blocks_of_logits_change_nothing(head, features, strategy, limit, monkeypatch):
    whole = adjusted(strategy, head, features)
    correct = correct_of(whole.head, features)
    monkeypatch.setattr(strategies, "MAX_LOGITS", limit)
    parts = adjusted(strategy, head, features)
    assert parts.found["curve"] == whole.found["curve"]
    assert parts.found["strength"] == whole.found["strength"]
    torch.testing.assert_close(parts.head.weight, whole.head.weight)
    torch.testing.assert_close(parts.head.bias, whole.head.bias)
    assert torch.equal(correct_of(whole.head, features), correct)


class LargestMade(TorchDispatchMode):
    """How many values the largest new tensor has."""

    values = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        made = operation(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor):
            self.values = max(self.values, made.untyped_storage().nbytes() // made.itemsize)
        return made


@pytest.mark.parametrize("strategy", ["tau-norm", "logit-adjust"])
def test_logits_of_all_images_are_never_there_at_once(strategy, monkeypatch):
    monkeypatch.setattr(strategies, "MAX_LOGITS", 10_000)
    generator = torch.Generator().manual_seed(4)
    classes, width = 100, 3
    head = torch.nn.Linear(width, classes)
    labels = torch.arange(classes).repeat(4)
    features = Features(torch.randn(len(labels), 2, width, generator=generator), labels)
    with LargestMade() as largest:
        made = strategies.adjust_head(strategy, head, features, labels.bincount(), None)
        correct_of(made.head, features)
    predictions = len(GRID) * len(labels) * 2
    assert predictions < len(labels) * 2 * classes
    assert largest.values <= max(10_000, predictions)


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
