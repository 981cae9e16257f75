import math

import pytest
import torch

from ltkd_cli.methods.balanced_softmax import BalancedSoftmax
from ltkd_cli.methods.ce import CrossEntropy


def balanced_softmax(label_smoothing):
    def definition(student_logits, teacher_logits, labels, counts):
        total = 0
        for row, label in zip(student_logits, labels, strict=True):
            masses = [count * torch.exp(z) for count, z in zip(counts, row, strict=True)]
            logarithms = [-torch.log(mass / sum(masses)) for mass in masses]
            total += (1 - label_smoothing) * logarithms[label]
            total += label_smoothing * sum(logarithms) / len(row)
        return total / len(labels)

    return definition


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_follows_its_definition(assert_follows, label_smoothing):
    definition = balanced_softmax(label_smoothing)
    assert_follows(BalancedSoftmax, definition, label_smoothing=label_smoothing)


def test_is_cross_entropy_when_classes_are_equally_large(loss_of):
    balanced = loss_of(BalancedSoftmax, (7, 7, 7))
    torch.testing.assert_close(balanced, loss_of(CrossEntropy, (7, 7, 7)))


def test_indifferent_logits_cost_the_label_its_prior(make_task, make_batch):
    task = make_task((30, 10))
    _, batch = make_batch(task, 2, rows=torch.tensor([0, 35]))
    loss = BalancedSoftmax(task)({"logits": torch.zeros(2, 2)}, batch)["label"]
    assert loss.item() == pytest.approx(-(math.log(0.75) + math.log(0.25)) / 2)


def test_a_class_without_training_images_keeps_the_loss_finite(make_task, make_batch):
    task = make_task((30, 10, 0))
    student, batch = make_batch(task, 4)
    assert BalancedSoftmax(task, label_smoothing=0.1)(student, batch)["label"].isfinite()
