import pytest
import torch
from mixtures import by_weights

from ltkd_cli.methods.ce import CrossEntropy
from ltkd_cli.methods.ldam import LabelDistributionAwareMargin


def weights_at(beta):
    return lambda counts: [(1 - beta) / (1 - beta**n) for n in counts]


def margins(max_margin, beta, by_weights=True):
    def definition(student_logits, teacher_logits, labels, counts):
        margin = [max_margin * (min(counts) / n) ** 0.25 for n in counts]
        weights = [(1 - beta) / (1 - beta**n) for n in counts]
        total = 0
        for row, label in zip(student_logits, labels, strict=True):
            cosines = [z / 30 for z in row]
            cosines[label] = cosines[label] - margin[label]
            masses = [torch.exp(30 * cosine) for cosine in cosines]
            total -= weights[label] * torch.log(masses[label] / sum(masses))
        if by_weights:
            return total / sum(weights[label] for label in labels)
        return total * len(counts) / sum(weights) / len(labels)

    return definition


@pytest.mark.parametrize("max_margin", [0.1, 0.5])
@pytest.mark.parametrize("beta", [0.9, 0.9999])
def test_follows_its_definition(assert_follows, max_margin, beta):
    options = {"max_margin": max_margin, "beta": beta}
    definition, mixed = margins(**options), by_weights(weights_at(beta))
    assert_follows(LabelDistributionAwareMargin, definition, progress=0.8, mixed=mixed, **options)


def test_follows_its_definition_divided_by_the_number_of_samples(assert_follows):
    definition = margins(0.5, 0.9999, by_weights=False)
    assert_follows(
        LabelDistributionAwareMargin, definition, progress=0.8, normalise_by="batch-size"
    )


def test_weights_apply_one_epoch_earlier_at_the_share_of_bag_of_tricks(loss_of):
    method, early = LabelDistributionAwareMargin, {"from_progress": 0.795}
    before = loss_of(method, progress=(158 * 96 + 95) / (200 * 96), **early)
    after = loss_of(method, progress=(159 * 96) / (200 * 96), **early)
    torch.testing.assert_close(before, loss_of(method, progress=0.0))
    torch.testing.assert_close(after, loss_of(method, progress=0.99))


def test_defaults_are_the_published_ones(assert_follows):
    for progress, beta in ((159.99 / 200, 0.0), (160 / 200, 0.9999)):
        definition, mixed = margins(0.5, beta), by_weights(weights_at(beta))
        assert_follows(LabelDistributionAwareMargin, definition, progress=progress, mixed=mixed)


def test_is_cross_entropy_of_the_scaled_cosines_without_margin_and_weights(loss_of):
    bare = loss_of(LabelDistributionAwareMargin, max_margin=0.0)
    torch.testing.assert_close(bare, loss_of(CrossEntropy))


def test_only_the_rarest_class_has_the_full_margin(make_task):
    margins = LabelDistributionAwareMargin(make_task((160, 10, 80))).margins / 30
    assert margins.tolist() == pytest.approx([0.25, 0.5, 0.5 * (1 / 8) ** 0.25])


def test_margins_of_an_expert_are_those_of_its_own_classes(make_task):
    margins = LabelDistributionAwareMargin(make_task((160, 0, 80))).margins / 30
    assert margins[[0, 2]].tolist() == pytest.approx([0.5 * (1 / 2) ** 0.25, 0.5])


def test_asks_for_a_cosine_head_of_its_scale():
    assert LabelDistributionAwareMargin.head == "cosine:30"
