import pytest
import torch

from ltkd_cli.methods.balanced_softmax import BalancedSoftmax
from ltkd_cli.methods.ce import CrossEntropy
from ltkd_cli.methods.logit_adjust import LogitAdjustment


def logit_adjustment(strength):
    def definition(student_logits, teacher_logits, labels, counts):
        total = 0
        for row, label in zip(student_logits, labels, strict=True):
            shares = [(n / sum(counts)) ** strength for n in counts]
            masses = [share * torch.exp(z) for share, z in zip(shares, row, strict=True)]
            total -= torch.log(masses[label] / sum(masses))
        return total / len(labels)

    return definition


@pytest.mark.parametrize("strength", [0.5, 1.0, 2.5])
def test_follows_its_definition(assert_follows, strength):
    assert_follows(LogitAdjustment, logit_adjustment(strength), strength=strength)


def test_is_balanced_softmax_by_default(loss_of):
    torch.testing.assert_close(loss_of(LogitAdjustment), loss_of(BalancedSoftmax))


def test_is_cross_entropy_at_strength_zero(loss_of):
    torch.testing.assert_close(loss_of(LogitAdjustment, strength=0.0), loss_of(CrossEntropy))
