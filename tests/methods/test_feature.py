import pytest
import torch
from mixtures import label_change
from torch.nn import functional as F

from ltkd_cli.methods.feature import FeatureRegression


def definition(student, batch, projector, weight=100.0):
    label_loss, squares, elements = 0, 0, 0
    for i, label in enumerate(batch.labels.tolist()):
        logits = student["logits"][i]
        label_loss += torch.log(sum(torch.exp(z) for z in logits)) - logits[label]
        for j, taught in enumerate(batch.teachers[0]["features"][i]):
            pairs = zip(projector.weight[j], student["features"][i], strict=True)
            squares += (sum(w * x for w, x in pairs) + projector.bias[j] - taught) ** 2
            elements += 1
    return label_loss / len(batch.labels) + weight * squares / elements


@pytest.mark.parametrize("widths", [(8, 8), (3, 8), (8, 5)])
@pytest.mark.parametrize("size", [1, 5])
@pytest.mark.parametrize("options", [{}, {"weight": 2.5}])
def test_follows_its_definition(make_task, make_batch, widths, size, options):
    task = make_task((9, 4, 1), student_width=widths[0], teacher_width=widths[1])
    student, batch = make_batch(task, size, dtype=torch.float64)
    method = FeatureRegression(task, **options).double()
    inputs = [student["logits"], student["features"], *method.projector.parameters()]
    found = sum(method(student, batch).values())
    wanted = definition(student, batch, method.projector, **options)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(
        torch.autograd.grad(found, inputs), torch.autograd.grad(wanted, inputs)
    )


def test_is_cross_entropy_when_the_weight_is_zero(make_task, make_batch):
    task = make_task((9, 4, 1))
    student, batch = make_batch(task, 5)
    loss = sum(FeatureRegression(task, weight=0.0)(student, batch).values())
    torch.testing.assert_close(loss, F.cross_entropy(student["logits"], batch.labels))


def test_mixtures_have_both_labels_and_the_features_as_they_are(make_task, make_batch, mix):
    task = make_task((9, 4, 1))
    student, batch = make_batch(task, 5, dtype=torch.float64)
    method, mixture = FeatureRegression(task).double(), mix(task, batch)
    inputs = [student["logits"], student["features"], *method.projector.parameters()]
    found = sum(method(student, mixture).values())
    wanted = definition(student, batch, method.projector)
    wanted = wanted + label_change(student["logits"], mixture)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(
        torch.autograd.grad(found, inputs), torch.autograd.grad(wanted, inputs)
    )


def test_begins_alike_for_the_same_seed(make_task):
    first, second, other = (FeatureRegression(make_task((9, 4, 1), seed=s)) for s in (1, 1, 2))
    assert torch.equal(first.projector.weight, second.projector.weight)
    assert not torch.equal(first.projector.weight, other.projector.weight)
