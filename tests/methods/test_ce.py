import pytest
import torch

from ltkd_cli.errors import MethodError
from ltkd_cli.methods.ce import CrossEntropy


def cross_entropy(label_smoothing):
    def definition(student_logits, teacher_logits, labels, counts):
        total = 0
        for row, label in zip(student_logits, labels, strict=True):
            logarithms = [-torch.log(torch.exp(z) / torch.exp(row).sum()) for z in row]
            total += (1 - label_smoothing) * logarithms[label]
            total += label_smoothing * sum(logarithms) / len(row)
        return total / len(labels)

    return definition


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 1.0])
def test_follows_its_definition(assert_follows, label_smoothing):
    assert_follows(CrossEntropy, cross_entropy(label_smoothing), label_smoothing=label_smoothing)


def test_a_certain_and_right_answer_costs_nothing(make_task, make_batch):
    task = make_task((5, 5))
    _, batch = make_batch(task, 4)
    certain = 1e4 * torch.nn.functional.one_hot(batch.labels, 2).float()
    assert CrossEntropy(task)({"logits": certain}, batch)["label"] == 0


def test_refuses_smoothing_outside_the_unit_interval(make_task):
    with pytest.raises(MethodError, match="label_smoothing"):
        CrossEntropy(make_task((5, 5)), label_smoothing=1.5)
