import dataclasses

import pytest
import torch

from ltkd_cli.errors import MethodError
from ltkd_cli.methods.ce import CrossEntropy
from ltkd_cli.methods.kd import KnowledgeDistillation


def softened(row, temperature):
    masses = [torch.exp(z / temperature) for z in row]
    return [mass / sum(masses) for mass in masses]


def standardised(row):
    mean = sum(row) / len(row)
    variance = sum((z - mean) ** 2 for z in row) / (len(row) - 1)
    return [(z - mean) / (torch.sqrt(variance) + 1e-7) for z in row]


def knowledge_distillation(label_weight, distillation_weight, temperature, standardise):
    def definition(student_logits, teacher_logits, labels, counts):
        total = 0
        for student, teacher, label in zip(student_logits, teacher_logits, labels, strict=True):
            total += label_weight * -torch.log(softened(student, 1)[label])
            if standardise:
                student, teacher = standardised(student), standardised(teacher)
            pairs = zip(softened(teacher, temperature), softened(student, temperature), strict=True)
            divergence = sum(p * torch.log(p / q) for p, q in pairs)
            total += distillation_weight * temperature**2 * divergence
        return total / len(labels)

    return definition


@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0])
@pytest.mark.parametrize("standardise", [False, True])
def test_follows_its_definition(assert_follows, temperature, standardise):
    options = {
        "label_weight": 0.3,
        "distillation_weight": 1.7,
        "temperature": temperature,
        "standardise": standardise,
    }
    assert_follows(KnowledgeDistillation, knowledge_distillation(**options), **options)


def test_defaults_are_the_published_ones(assert_follows):
    assert_follows(KnowledgeDistillation, knowledge_distillation(0.1, 0.9, 4, False))


def test_is_cross_entropy_when_the_teacher_has_no_weight(loss_of):
    without_teacher = loss_of(KnowledgeDistillation, distillation_weight=0, label_weight=1)
    torch.testing.assert_close(without_teacher, loss_of(CrossEntropy), rtol=0, atol=0)


def test_a_student_that_agrees_with_the_teacher_pays_nothing(make_task, make_batch):
    task = make_task((9, 5, 2))
    _, batch = make_batch(task, 4)
    student = {"logits": batch.teacher_logits + 7}
    distillation = KnowledgeDistillation(task)(student, batch)["distillation"]
    assert abs(distillation.item()) < 1e-5


def test_standardised_logits_may_be_scaled_and_shifted_freely(make_task, make_batch):
    task = make_task((9, 5, 2))
    _, batch = make_batch(task, 4)
    student = {"logits": 3 * batch.teacher_logits - 7}
    distillation = KnowledgeDistillation(task, standardise=True)(student, batch)["distillation"]
    assert abs(distillation.item()) < 1e-5


def test_squared_temperature_keeps_the_size_of_the_gradient(loss_of):
    def gradient(temperature):
        return loss_of(KnowledgeDistillation, temperature=temperature, label_weight=0, scale=0.1)[
            1
        ].norm()

    assert gradient(100.0) / gradient(10.0) == pytest.approx(1, rel=0.05)


def test_several_teachers_speak_through_their_mean_logits(make_task, make_batch):
    student, batch = make_batch(make_task((9, 5, 2), teachers=2), 4)
    several = KnowledgeDistillation(make_task((9, 5, 2)))(student, batch)
    mean = (batch.teachers[0]["logits"] + batch.teachers[1]["logits"]) / 2
    batch = dataclasses.replace(batch, teachers=({"logits": mean},))
    torch.testing.assert_close(KnowledgeDistillation(make_task((9, 5, 2)))(student, batch), several)


@pytest.mark.parametrize(
    "option", [{"temperature": 0.0}, {"label_weight": -1.0}, {"distillation_weight": -0.1}]
)
def test_refuses_values_without_meaning(make_task, option):
    with pytest.raises(MethodError, match=next(iter(option))):
        KnowledgeDistillation(make_task((5, 5)), **option)
