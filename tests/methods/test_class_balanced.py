import pytest
import torch
from mixtures import by_weights

from ltkd_cli.errors import MethodError
from ltkd_cli.methods.ce import CrossEntropy
from ltkd_cli.methods.class_balanced import ClassBalanced


def weights_at(beta):
    return lambda counts: [(1 - beta) / (1 - beta**n) for n in counts]


def class_balanced(beta, by_weights=False):
    def definition(student_logits, teacher_logits, labels, counts):
        weights = [(1 - beta) / (1 - beta**n) for n in counts]
        weights = [w * len(counts) / sum(weights) for w in weights]
        total = 0
        for row, label in zip(student_logits, labels, strict=True):
            total -= weights[label] * torch.log(torch.exp(row[label]) / torch.exp(row).sum())
        divisor = sum(weights[label] for label in labels) if by_weights else len(labels)
        return total / divisor

    return definition


@pytest.mark.parametrize("beta", [0.9, 0.99, 0.9999])
def test_follows_its_definition(assert_follows, beta):
    assert_follows(ClassBalanced, class_balanced(beta), beta=beta)


@pytest.mark.parametrize("beta", [0.9, 0.9999])
def test_follows_its_definition_divided_by_the_weights_of_the_batch(assert_follows, beta):
    definition = class_balanced(beta, by_weights=True)
    options = {"beta": beta, "normalise_by": "batch-weights"}
    assert_follows(ClassBalanced, definition, mixed=by_weights(weights_at(beta)), **options)


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


def test_divided_by_its_weights_a_batch_of_one_class_is_plain_cross_entropy(make_task, make_batch):
    task = make_task((1000, 1))
    student, batch = make_batch(task, 2, rows=torch.tensor([1000, 1000]))
    weighted = ClassBalanced(task, normalise_by="batch-weights")(student, batch)
    torch.testing.assert_close(weighted, CrossEntropy(task)(student, batch))


def test_on_cifar_10_lt_gradients_are_six_times_as_large_divided_by_the_weights(make_task):
    counts = [int(5000 * 0.01 ** (c / 9)) for c in range(10)]
    weights = ClassBalanced(make_task(counts)).class_weights
    mean_of_an_image = (weights * torch.tensor(counts)).sum() / sum(counts)
    assert 1 / mean_of_an_image == pytest.approx(5.85, abs=0.01)


def test_refuses_a_divisor_that_it_does_not_know(make_task):
    with pytest.raises(MethodError, match="normalise_by"):
        ClassBalanced(make_task((3, 1)), normalise_by="classes")
