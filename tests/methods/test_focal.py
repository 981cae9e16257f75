import pytest
import torch

from ltkd_cli.methods.ce import CrossEntropy
from ltkd_cli.methods.focal import Focal


def focal(gamma):
    def definition(student_logits, teacher_logits, labels, counts):
        total = 0
        for row, label in zip(student_logits, labels, strict=True):
            right = torch.exp(row[label]) / torch.exp(row).sum()
            total -= (1 - right) ** gamma * torch.log(right)
        return total / len(labels)

    return definition


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
def test_follows_its_definition(assert_follows, gamma):
    assert_follows(Focal, focal(gamma), gamma=gamma)


def test_default_gamma_is_two(assert_follows):
    assert_follows(Focal, focal(2))


def test_is_cross_entropy_at_gamma_zero(loss_of):
    torch.testing.assert_close(loss_of(Focal, gamma=0.0), loss_of(CrossEntropy))


@pytest.mark.parametrize("gamma", [0.0, 0.1, 1.0, 2.0])
def test_a_certain_and_right_answer_has_a_finite_gradient(make_task, make_batch, gamma):
    task = make_task((5, 5))
    _, batch = make_batch(task, 4)
    certain = (1e4 * torch.nn.functional.one_hot(batch.labels, 2).float()).requires_grad_()
    loss = Focal(task, gamma=gamma)({"logits": certain}, batch)["label"]
    (gradient,) = torch.autograd.grad(loss, certain)
    assert loss == 0
    assert (gradient == 0).all()
