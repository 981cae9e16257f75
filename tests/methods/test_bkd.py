import pytest
import torch

from ltkd_cli.errors import MethodError
from ltkd_cli.methods.bkd import BalancedKnowledgeDistillation
from ltkd_cli.methods.kd import KnowledgeDistillation


def softened(row, temperature):
    masses = [torch.exp(z / temperature) for z in row]
    return [mass / sum(masses) for mass in masses]


def balanced_distillation(weight, temperature, beta):
    def definition(student_logits, teacher_logits, labels, counts):
        class_weights = [(1 - beta) / (1 - beta**n) for n in counts]
        total = 0
        for student, teacher, label in zip(student_logits, teacher_logits, labels, strict=True):
            total -= torch.log(softened(student, 1)[label])
            target = [
                w * p for w, p in zip(class_weights, softened(teacher, temperature), strict=True)
            ]
            pairs = zip(target, softened(student, temperature), strict=True)
            divergence = sum(p / sum(target) * torch.log(p / sum(target) / q) for p, q in pairs)
            total += weight * temperature**2 * divergence
        return total / len(labels)

    return definition


@pytest.mark.parametrize("temperature", [1.0, 2.0, 9.0])
@pytest.mark.parametrize("beta", [0.9, 0.9999])
def test_follows_its_definition(assert_follows, temperature, beta):
    options = {"weight": 1.3, "temperature": temperature, "beta": beta}
    assert_follows(BalancedKnowledgeDistillation, balanced_distillation(**options), **options)


def test_defaults_are_the_published_ones(assert_follows):
    assert_follows(BalancedKnowledgeDistillation, balanced_distillation(1, 2, 0.9999), progress=0.0)


def plain(loss_of, counts):
    options = {"label_weight": 1.0, "distillation_weight": 1.0, "temperature": 2.0}
    return loss_of(KnowledgeDistillation, counts, **options)


def test_is_plain_kd_when_classes_are_equally_large(loss_of):
    equal = loss_of(BalancedKnowledgeDistillation, (7, 7, 7))
    torch.testing.assert_close(equal, plain(loss_of, (7, 7, 7)))


def test_is_plain_kd_when_beta_is_zero(loss_of):
    unweighted = loss_of(BalancedKnowledgeDistillation, (50, 9, 2), beta=0.0)
    torch.testing.assert_close(unweighted, plain(loss_of, (50, 9, 2)))


def test_is_plain_kd_until_class_weights_apply(loss_of):
    deferred = {"from_progress": 0.8}
    before = loss_of(BalancedKnowledgeDistillation, (50, 9, 2), progress=159.99 / 200, **deferred)
    after = loss_of(BalancedKnowledgeDistillation, (50, 9, 2), progress=160 / 200, **deferred)
    torch.testing.assert_close(before, plain(loss_of, (50, 9, 2)))
    torch.testing.assert_close(after, loss_of(BalancedKnowledgeDistillation, (50, 9, 2)))
    assert not torch.allclose(before[0], after[0])


def test_a_student_that_copies_the_teacher_is_pulled_towards_the_rare_class(make_task, make_batch):
    task = make_task((5000, 5))
    _, batch = make_batch(task, 8)
    copied = {"logits": batch.teacher_logits.clone().requires_grad_()}
    term = BalancedKnowledgeDistillation(task)(copied, batch)["distillation"]
    (gradient,) = torch.autograd.grad(term, copied["logits"])
    assert (gradient[:, 1] < 0).all()


def test_refuses_an_effective_number_of_every_image(make_task):
    with pytest.raises(MethodError, match="beta"):
        BalancedKnowledgeDistillation(make_task((5, 5)), beta=1.0)
