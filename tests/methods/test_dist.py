import pytest
import torch
from mixtures import beside_the_teacher

from ltkd_cli.methods.ce import CrossEntropy
from ltkd_cli.methods.dist import RelationDistillation, correlation


def softened(matrix, temperature):
    rows = []
    for row in matrix:
        masses = [torch.exp(z / temperature) for z in row]
        rows.append([mass / sum(masses) for mass in masses])
    return rows


def pearson(xs, ys):
    x_mean, y_mean = sum(xs) / len(xs), sum(ys) / len(ys)
    covariance = sum((x - x_mean) * (y - y_mean) for x, y in zip(xs, ys, strict=True))
    x_squares = sum((x - x_mean) ** 2 for x in xs)
    y_squares = sum((y - y_mean) ** 2 for y in ys)
    if x_squares == 0 or y_squares == 0:
        return 0 * covariance
    return covariance / (torch.sqrt(x_squares) * torch.sqrt(y_squares) + 1e-8)


def mean_distance(xs, ys):
    return 1 - sum(pearson(x, y) for x, y in zip(xs, ys, strict=True)) / len(xs)


def relations(weight, inter_weight, intra_weight, temperature):
    def definition(student_logits, teacher_logits, labels, counts):
        total = 0
        for row, label in zip(student_logits, labels, strict=True):
            total -= torch.log(torch.exp(row[label]) / torch.exp(row).sum()) / len(labels)
        student, teacher = (
            softened(student_logits, temperature),
            softened(teacher_logits, temperature),
        )
        inter = mean_distance(student, teacher)
        intra = mean_distance(list(zip(*student, strict=True)), list(zip(*teacher, strict=True)))
        return total + weight * temperature**2 * (inter_weight * inter + intra_weight * intra)

    return definition


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize(("inter_weight", "intra_weight"), [(1.0, 0.0), (0.0, 1.0), (0.7, 1.9)])
def test_follows_its_definition(assert_follows, temperature, inter_weight, intra_weight):
    options = {
        "weight": 1.5,
        "inter_weight": inter_weight,
        "intra_weight": intra_weight,
        "temperature": temperature,
    }
    assert_follows(
        *(RelationDistillation, relations(**options)),
        scale=1.0, mixed=beside_the_teacher, **options,
    )  # fmt: skip


def test_defaults_are_the_published_ones(assert_follows):
    definition = relations(2, 1, 1, 4)
    assert_follows(RelationDistillation, definition, scale=1.0, mixed=beside_the_teacher)


def test_is_cross_entropy_when_the_teacher_has_no_weight(loss_of):
    without_teacher = loss_of(RelationDistillation, weight=0.0)
    torch.testing.assert_close(without_teacher, loss_of(CrossEntropy))


def test_a_student_that_agrees_with_the_teacher_pays_nothing(make_task, make_batch):
    task = make_task((9, 5, 2))
    _, batch = make_batch(task, 6)
    terms = RelationDistillation(task)({"logits": batch.teacher_logits + 3}, batch)
    assert abs(terms["inter-class"].item()) < 1e-4
    assert abs(terms["intra-class"].item()) < 1e-4


def test_correlation_ignores_shift_and_positive_scale_and_turns_with_the_sign():
    first = torch.randn(4, 9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(correlation(first, 3 * first + 2, 1), torch.ones(4))
    torch.testing.assert_close(correlation(first, 2 - first, 1), -torch.ones(4))


def test_a_constant_column_correlates_with_nothing_and_has_no_gradient():
    constant = torch.full((5, 2), 0.25, requires_grad=True)
    other = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    found = correlation(constant, other, 0)
    (gradient,) = torch.autograd.grad(found.sum(), constant)
    assert found.tolist() == [0, 0]
    assert gradient.isfinite().all()


def test_a_batch_of_one_learns_from_relations_between_classes_alone(make_task, make_batch):
    task = make_task((9, 5, 2))
    student, batch = make_batch(task, 1)
    terms = RelationDistillation(task)(student, batch)
    (gradient,) = torch.autograd.grad(terms["intra-class"], student["logits"], retain_graph=True)
    assert (gradient == 0).all()
    (gradient,) = torch.autograd.grad(terms["inter-class"], student["logits"])
    assert (gradient != 0).any()
