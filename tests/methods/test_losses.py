import math

import pytest
import torch

from ltkd_cli.data.longtail import long_tail_counts
from ltkd_cli.errors import MethodError
from ltkd_cli.methods.losses import (
    deferred,
    divergence,
    effective_number_weights,
    log_prior,
    not_negative,
    positive,
    relative_entropy,
    share,
    standardise,
)


def random_logits(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_log_prior_is_the_logarithm_of_every_share():
    prior = log_prior(torch.tensor([6, 3, 1]))
    assert prior.exp().tolist() == pytest.approx([0.6, 0.3, 0.1])


def test_log_prior_of_a_class_without_images_is_finite():
    assert log_prior(torch.tensor([9, 0])).exp().tolist() == pytest.approx([0.9, 0.1])


@pytest.mark.parametrize("beta", [0.5, 0.99, 0.9999])
def test_effective_number_weights_follow_their_definition(beta):
    counts = [5000, 83, 7, 1]
    wanted = [(1 - beta) / (1 - beta**n) for n in counts]
    wanted = [len(counts) * w / sum(wanted) for w in wanted]
    weights = effective_number_weights(torch.tensor(counts), beta)
    assert weights.tolist() == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize(
    ("largest", "classes", "imbalance", "ratio"),
    [(5000, 10, 100, 78.9), (500, 100, 100, 97.6), (500, 100, 50, 48.8), (500, 100, 10, 9.8)],
)
def test_effective_number_ratios_on_cifar(largest, classes, imbalance, ratio):
    counts = torch.tensor(long_tail_counts(largest, classes, imbalance))
    weights = effective_number_weights(counts, 0.9999)
    assert (weights.max() / weights.min()).item() == pytest.approx(ratio, abs=0.05)


def test_effective_number_weights_are_ones_at_beta_zero():
    assert effective_number_weights(torch.tensor([500, 3, 1]), 0.0).tolist() == [1, 1, 1]


def test_effective_number_weights_become_inverse_frequency_close_to_beta_one():
    weights = effective_number_weights(torch.tensor([1000, 100, 10]), 1 - 1e-15)
    assert weights.tolist() == pytest.approx([3 / 111, 30 / 111, 300 / 111], rel=1e-5)


def test_effective_number_weights_of_a_class_without_images_are_finite():
    weights = effective_number_weights(torch.tensor([9, 0, 1]), 0.99)
    assert weights[1] == weights[2]


def test_effective_number_weights_of_an_expert_are_those_of_its_own_classes():
    of_its_classes = effective_number_weights(torch.tensor([5000, 300]), 0.9999)
    weights = effective_number_weights(torch.tensor([5000, 0, 0, 300]), 0.9999)
    torch.testing.assert_close(weights[[0, 3]], of_its_classes)


@pytest.mark.parametrize("beta", [-0.1, 1.0, 2.0, math.nan])
def test_effective_number_weights_refuse_other_betas(beta):
    with pytest.raises(MethodError, match="beta"):
        effective_number_weights(torch.tensor([9, 1]), beta)


@pytest.mark.parametrize(
    ("progress", "applied"), [(0.0, False), (159 / 200, False), (160 / 200, True), (0.99, True)]
)
def test_deferred_weights_apply_from_their_epoch_on(progress, applied):
    weights = deferred(
        torch.tensor([0.5, 1.5]), torch.tensor(progress, dtype=torch.float64), from_progress=0.8
    )
    assert weights.tolist() == ([0.5, 1.5] if applied else [1, 1])
    assert weights.dtype == torch.float32


@pytest.mark.parametrize("step", [1, 7, 160, 13_600])
@pytest.mark.parametrize("steps_per_epoch", [1, 85, 391])
def test_deferred_weights_meet_the_very_first_step_of_an_epoch(step, steps_per_epoch):
    reached = torch.tensor(step * steps_per_epoch, dtype=torch.float64)
    progress = reached / (step * 1.25 * steps_per_epoch)
    assert deferred(torch.zeros(1), progress, from_progress=0.8).item() == 0


def test_relative_entropy_is_zero_for_equal_rows_and_positive_otherwise():
    first, second = random_logits(5, 7).log_softmax(1), random_logits(5, 7, seed=1).log_softmax(1)
    assert relative_entropy(first, first).tolist() == [0] * 5
    assert (relative_entropy(first, second) > 0).all()


def test_relative_entropy_puts_the_teacher_first():
    teacher = torch.tensor([[0.75, 0.25]]).log()
    student = torch.tensor([[0.5, 0.5]]).log()
    wanted = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert relative_entropy(teacher, student).item() == pytest.approx(wanted)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 100.0])
def test_divergence_is_that_of_the_tempered_probabilities(temperature):
    teacher, student = random_logits(3, 5), random_logits(3, 5, seed=1)
    total = 0.0
    for p_row, q_row in zip(teacher.tolist(), student.tolist(), strict=True):
        p = [math.exp(z / temperature) for z in p_row]
        q = [math.exp(z / temperature) for z in q_row]
        for a, b in zip(p, q, strict=True):
            total += a / sum(p) * math.log((a / sum(p)) / (b / sum(q)))
    assert divergence(teacher, student, temperature).item() == pytest.approx(total / 3)


@pytest.mark.parametrize("temperature", [1e-3, 1.0, 1e3])
def test_divergence_and_its_gradient_survive_huge_logits(temperature):
    teacher = 1e4 * random_logits(4, 6).float()
    student = (1e4 * random_logits(4, 6, seed=1).float()).requires_grad_()
    distance = divergence(teacher, student, temperature)
    (gradient,) = torch.autograd.grad(distance, student)
    assert distance.isfinite()
    assert gradient.isfinite().all()


def test_divergence_counts_a_class_the_student_rules_out():
    distance = divergence(torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, -1e4]]), 1.0)
    assert distance.item() == pytest.approx(5000 - math.log(2))


def test_standardised_rows_have_mean_zero_and_unit_unbiased_deviation():
    rows = standardise(5 + 3 * random_logits(4, 9))
    torch.testing.assert_close(rows.mean(1), torch.zeros(4, dtype=torch.float64))
    deviations = (rows.square().sum(1) / 8).sqrt()
    torch.testing.assert_close(deviations, torch.ones(4, dtype=torch.float64))


def test_standardised_equal_logits_are_zero_with_a_finite_gradient():
    logits = torch.full((2, 3), 4.0, requires_grad=True)
    rows = standardise(logits)
    (gradient,) = torch.autograd.grad(rows.square().sum(), logits)
    assert (rows == 0).all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (positive, [1e-9, 4], [0, -1, math.nan]),
        (not_negative, [0, 9], [-1e-9, math.nan]),
        (share, [0, 0.5, 1], [-0.1, 1.1, math.nan]),
    ],
)
def test_checks_return_good_values_and_name_the_option_of_bad_ones(check, good, bad):
    assert [check("weight", value) for value in good] == good
    for value in bad:
        with pytest.raises(MethodError, match="Option weight") as caught:
            check("weight", value)
        assert caught.value.hint.startswith("--set weight=")
