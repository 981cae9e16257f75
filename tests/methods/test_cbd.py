import pytest
import torch
from mixtures import label_change
from torch.nn import functional as F

from ltkd_cli.errors import MethodError
from ltkd_cli.methods.cbd import ClassBalancedDistillation


def unit(values):
    length = sum(value**2 for value in values) ** 0.5
    return [value / length for value in values]


def definition(student, batch, alpha=0.4, beta=100.0):
    total = 0
    for i, label in enumerate(batch.labels.tolist()):
        logits = student["logits"][i]
        label_loss = torch.log(sum(torch.exp(z) for z in logits)) - logits[label]
        joint = [x for teacher in batch.teachers for x in unit(teacher["features"][i])]
        pairs = zip(unit(student["features"][i]), unit(joint), strict=True)
        distance = 1 - sum(a * b for a, b in pairs)
        total += (1 - alpha) * label_loss + alpha * beta * distance
    return total / len(batch.labels)


def loss_and_gradients(loss, student):
    return [loss.detach(), *torch.autograd.grad(loss, [student["logits"], student["features"]])]


@pytest.mark.parametrize(("teachers", "width"), [(1, 8), (1, 2), (2, 4), (4, 3)])
@pytest.mark.parametrize("size", [1, 5])
def test_follows_its_definition(make_task, make_batch, teachers, width, size):
    task = make_task(
        (9, 4, 1), teachers=teachers, teacher_width=width, student_width=teachers * width
    )
    student, batch = make_batch(task, size, dtype=torch.float64)
    options = {"feature_share": 0.3, "feature_scale": 7.0}
    method = ClassBalancedDistillation(task, **options)
    found = loss_and_gradients(sum(method(student, batch).values()), student)
    wanted = loss_and_gradients(definition(student, batch, 0.3, 7.0), student)
    torch.testing.assert_close(found, wanted)


def test_defaults_are_the_published_ones(make_task, make_batch):
    task = make_task((9, 4, 1))
    student, batch = make_batch(task, 5, dtype=torch.float64)
    loss = sum(ClassBalancedDistillation(task)(student, batch).values())
    torch.testing.assert_close(loss, definition(student, batch))


def test_default_weights_are_six_tenths_and_forty(make_task, make_batch):
    task = make_task((9, 4, 1))
    student, batch = make_batch(task, 5)
    opposite = {"logits": student["logits"], "features": -batch.teachers[0]["features"]}
    terms = ClassBalancedDistillation(task)(opposite, batch)
    label = F.cross_entropy(student["logits"], batch.labels)
    torch.testing.assert_close(terms["label"], 0.6 * label)
    torch.testing.assert_close(terms["feature"], torch.tensor(40 * 2.0))


def test_is_cross_entropy_when_the_feature_share_is_zero(make_task, make_batch):
    task = make_task((9, 4, 1))
    student, batch = make_batch(task, 5)
    loss = sum(ClassBalancedDistillation(task, feature_share=0.0)(student, batch).values())
    plain = F.cross_entropy(student["logits"], batch.labels)
    torch.testing.assert_close(loss, plain)
    (gradient,) = torch.autograd.grad(loss, student["features"])
    assert not gradient.any()


def test_mixtures_have_both_labels_and_the_features_as_they_are(make_task, make_batch, mix):
    task = make_task((9, 4, 1))
    student, batch = make_batch(task, 5, dtype=torch.float64)
    method, mixture = ClassBalancedDistillation(task), mix(task, batch)
    found = loss_and_gradients(sum(method(student, mixture).values()), student)
    wanted = definition(student, batch) + 0.6 * label_change(student["logits"], mixture)
    torch.testing.assert_close(found, loss_and_gradients(wanted, student))


@pytest.mark.parametrize("teachers", [1, 2])
def test_lengths_of_features_do_not_matter(make_task, make_batch, teachers):
    task = make_task((9, 4, 1), teachers=teachers, student_width=8 * teachers)
    student, batch = make_batch(task, 5)
    method = ClassBalancedDistillation(task)
    before = method(student, batch)["feature"]
    batch.teachers[0]["features"].mul_(torch.tensor([[0.1], [1], [7], [30], [2]]))
    longer = {"logits": student["logits"], "features": 5 * student["features"]}
    torch.testing.assert_close(method(longer, batch)["feature"], before)


@pytest.mark.parametrize(
    ("student", "teachers", "width"),
    [(64, (64,), 0), (64, (128,), 128), (64, (64, 64), 128), (64, (32, 32), 64), (8, (2, 3), 5)],
)
def test_student_is_projected_to_all_teachers_together(student, teachers, width):
    assert ClassBalancedDistillation.projection(student, teachers) == width


def test_refuses_features_that_cannot_be_compared(make_task):
    with pytest.raises(MethodError, match="16 of the teacher"):
        ClassBalancedDistillation(make_task((9, 4, 1), teachers=2))


def test_draws_classes_equally_and_ends_in_a_cosine_classifier():
    assert ClassBalancedDistillation.sampler == "class-balanced"
    assert ClassBalancedDistillation.head == "cosine:20"
