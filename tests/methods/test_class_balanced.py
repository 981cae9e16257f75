import pytest
import torch

from ltkd_cli.methods.ce import CrossEntropy
from ltkd_cli.methods.class_balanced import ClassBalanced


def class_balanced(beta):
    def definition(student_logits, teacher_logits, labels, counts):
        weights = [(1 - beta) / (1 - beta**n) for n in counts]
        weights = [w * len(counts) / sum(weights) for w in weights]
        total = 0
        for row, label in zip(student_logits, labels, strict=True):
            total -= weights[label] * torch.log(torch.exp(row[label]) / torch.exp(row).sum())
        return total / len(labels)

    return definition


@pytest.mark.parametrize("beta", [0.9, 0.99, 0.9999])
def test_follows_its_definition(assert_follows, beta):
    assert_follows(ClassBalanced, class_balanced(beta), beta=beta)


def test_defaults_are_the_published_ones(assert_follows):
    assert_follows(ClassBalanced, class_balanced(0.9999), progress=0.0)


def test_is_cross_entropy_when_beta_is_zero(loss_of):
    torch.testing.assert_close(loss_of(ClassBalanced, beta=0.0), loss_of(CrossEntropy))


def test_is_cross_entropy_until_class_weights_apply(loss_of):
    before = loss_of(ClassBalanced, progress=159.99 / 200, from_progress=0.8)
    after = loss_of(ClassBalanced, progress=160 / 200, from_progress=0.8)
    torch.testing.assert_close(before, loss_of(CrossEntropy))
    torch.testing.assert_close(after, loss_of(ClassBalanced))
    assert not torch.allclose(before[0], after[0])


def test_divides_by_the_batch_not_by_its_weights(make_task, make_batch):
    task = make_task((1000, 1))
    _, batch = make_batch(task, 2, rows=torch.tensor([1000, 1000]))
    loss = ClassBalanced(task)({"logits": torch.zeros(2, 2)}, batch)["label"]
    assert loss.item() > 1.9 * torch.tensor(2.0).log().item()
