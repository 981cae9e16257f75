import pytest
import torch

from ltkd_cli.methods.balanced_softmax import BalancedSoftmax
from ltkd_cli.methods.dive import DistillingVirtualExamples
from ltkd_cli.methods.kd import KnowledgeDistillation


def softmax(masses):
    return [mass / sum(masses) for mass in masses]


def virtual_examples(weight, temperature, power_normalisation):
    def definition(student_logits, teacher_logits, labels, counts):
        total = 0
        for student, teacher, label in zip(student_logits, teacher_logits, labels, strict=True):
            balanced = softmax([n * torch.exp(z) for n, z in zip(counts, student, strict=True)])
            target = softmax([torch.exp(z / temperature) for z in teacher])
            if power_normalisation:
                target = softmax([torch.sqrt(p) for p in target])
            answer = softmax([torch.exp(z / temperature) for z in student])
            divergence = sum(p * torch.log(p / q) for p, q in zip(target, answer, strict=True))
            total += (1 - weight) * -torch.log(balanced[label])
            total += weight * temperature**2 * divergence
        return total / len(labels)

    return definition


@pytest.mark.parametrize("temperature", [1.0, 2.0, 12.0])
@pytest.mark.parametrize("power_normalisation", [False, True])
def test_follows_its_definition(assert_follows, temperature, power_normalisation):
    options = {
        "weight": 0.3,
        "temperature": temperature,
        "power_normalisation": power_normalisation,
    }
    assert_follows(DistillingVirtualExamples, virtual_examples(**options), **options)


def test_defaults_are_the_published_ones(assert_follows):
    assert_follows(DistillingVirtualExamples, virtual_examples(0.5, 3, True))


def test_power_normalisation_is_a_teacher_of_twice_the_temperature(make_task, make_batch):
    task = make_task((40, 9, 2))
    _, batch = make_batch(task, 5)
    answer = {"logits": batch.teacher_logits / 2}
    distillation = DistillingVirtualExamples(task)(answer, batch)["distillation"]
    assert abs(distillation.item()) < 1e-6


def test_is_balanced_softmax_when_the_teacher_has_no_weight(loss_of):
    without_teacher = loss_of(DistillingVirtualExamples, weight=0.0)
    torch.testing.assert_close(without_teacher, loss_of(BalancedSoftmax))


def test_the_prior_stays_out_of_the_teachers_term(loss_of):
    options = {"weight": 1.0, "power_normalisation": False, "temperature": 2.0}
    teacher_only = loss_of(DistillingVirtualExamples, (500, 9, 2), **options)
    options = {"label_weight": 0.0, "distillation_weight": 1.0, "temperature": 2.0}
    kd = loss_of(KnowledgeDistillation, (500, 9, 2), **options)
    torch.testing.assert_close(teacher_only, kd)


def test_expects_a_balanced_softmax_teacher():
    assert DistillingVirtualExamples.teacher == "balanced-softmax"
