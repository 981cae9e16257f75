import pytest
import torch

from ltkd_cli.methods.ce import CrossEntropy
from ltkd_cli.methods.dkd import DecoupledDistillation, decouple, divergences
from ltkd_cli.methods.kd import KnowledgeDistillation
from ltkd_cli.methods.losses import relative_entropy


def softmax(masses):
    return [mass / sum(masses) for mass in masses]


def standardised(row):
    mean = sum(row) / len(row)
    variance = sum((z - mean) ** 2 for z in row) / (len(row) - 1)
    return [(z - mean) / (torch.sqrt(variance) + 1e-7) for z in row]


def kl(target, answer):
    return sum(p * torch.log(p / q) for p, q in zip(target, answer, strict=True))


def decoupled(target_weight, others_weight, temperature, strength, standardise=False):
    def definition(student_logits, teacher_logits, labels, counts):
        total = 0
        for student, teacher, label in zip(student_logits, teacher_logits, labels, strict=True):
            total -= torch.log(softmax([torch.exp(z) for z in student])[label])
            if standardise:
                student, teacher = standardised(student), standardised(teacher)
            p = softmax([torch.exp(z / temperature) for z in teacher])
            q = softmax([torch.exp(z / temperature) for z in student])
            target_class = kl([p[label], 1 - p[label]], [q[label], 1 - q[label]])
            others = [c for c in range(len(counts)) if c != label]
            other_classes = kl(softmax([p[c] for c in others]), softmax([q[c] for c in others]))
            total += strength * temperature**2 * target_weight * target_class
            total += strength * temperature**2 * others_weight * other_classes
        return total / len(labels)

    return definition


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("standardise", [False, True])
def test_follows_its_definition(assert_follows, temperature, standardise):
    options = {
        "target_weight": 0.7,
        "others_weight": 3.0,
        "temperature": temperature,
        "standardise": standardise,
    }
    definition = decoupled(strength=1, **options)
    assert_follows(DecoupledDistillation, definition, scale=1.5, **options)


def test_defaults_are_the_published_ones(assert_follows):
    assert_follows(DecoupledDistillation, decoupled(1, 8, 4, strength=1), progress=0.5)


@pytest.mark.parametrize("epoch", [1, 2, 11, 20, 21, 240])
def test_warmup_is_the_authors_where_an_epoch_begins(assert_follows, epoch):
    definition = decoupled(1, 8, 4, strength=min(epoch / 20, 1))
    assert_follows(DecoupledDistillation, definition, progress=(epoch - 1) / 240)


def test_without_warmup_the_teacher_has_full_weight_at_once(assert_follows):
    definition = decoupled(1, 8, 4, strength=1)
    assert_follows(DecoupledDistillation, definition, progress=0.0, warmup=0.0)


def test_is_cross_entropy_when_the_teacher_has_no_weight(loss_of):
    options = {"target_weight": 0.0, "others_weight": 0.0}
    torch.testing.assert_close(loss_of(DecoupledDistillation, **options), loss_of(CrossEntropy))


def test_is_plain_kd_when_the_others_weigh_what_the_teacher_gives_them(make_task, make_batch):
    task = make_task((9, 5, 2, 1))
    student, batch = make_batch(task, 7, scale=3.0)
    teacher_logits, student_logits = batch.teacher_logits / 4, student["logits"] / 4
    target_class, other_classes = divergences(teacher_logits, student_logits, batch.labels)
    right = teacher_logits.softmax(1).gather(1, batch.labels[:, None])[:, 0]
    coupled = 16 * (target_class + (1 - right) * other_classes).mean()
    options = {"label_weight": 0.0, "distillation_weight": 1.0, "temperature": 4.0}
    plain = KnowledgeDistillation(task, **options)(student, batch)["distillation"]
    torch.testing.assert_close(coupled, plain)


def test_of_two_classes_the_others_say_nothing(make_task, make_batch):
    task = make_task((9, 2))
    student, batch = make_batch(task, 5)
    term = DecoupledDistillation(task)(student, batch)["other-classes"]
    (gradient,) = torch.autograd.grad(term, student["logits"])
    assert term == 0
    assert (gradient == 0).all()


def test_decoupled_probabilities_sum_to_one():
    logits = 5 * torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    for part in decouple(logits, torch.tensor([0, 1, 2, 3, 0, 3])):
        torch.testing.assert_close(part.exp().sum(1), torch.ones(6))
        assert (relative_entropy(part, part) == 0).all()


def test_moving_the_labels_logit_leaves_the_other_classes_alone():
    logits = torch.randn(1, 4, generator=torch.Generator().manual_seed(0))
    moved = logits + torch.tensor([[0.0, 0.0, 9.0, 0.0]])
    label = torch.tensor([2])
    torch.testing.assert_close(decouple(logits, label)[1], decouple(moved, label)[1])
