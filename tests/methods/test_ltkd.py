import pytest
import torch
from mixtures import beside_the_teacher

from ltkd_cli.methods.ce import CrossEntropy
from ltkd_cli.methods.kd import KnowledgeDistillation
from ltkd_cli.methods.ltkd import LongTailedDistillation

UNCORRECTED = {"rebalance": False, "reweight": False}


def softened(row, temperature):
    masses = [torch.exp(z / temperature) for z in row]
    return [mass / sum(masses) for mass in masses]


def thirds(counts):
    """Classes of the largest, middle and smallest third; two classes make two groups."""
    ordered = sorted(range(len(counts)), key=lambda c: -counts[c])
    ends = {2: [1, 1], 3: [1, 2], 7: [2, 5]}[len(counts)]
    groups = ordered[: ends[0]], ordered[ends[0] : ends[1]], ordered[ends[1] :]
    return [group for group in groups if group]


def long_tailed(between_weight, within_weight, temperature, rebalance, reweight):
    def definition(student_logits, teacher_logits, labels, counts):
        groups = thirds(counts)
        teacher = [softened(row, temperature) for row in teacher_logits]
        student = [softened(row, temperature) for row in student_logits]
        sums = [sum(row[c] for row in teacher for c in group) for group in groups]
        total = 0
        for p, q, row, label in zip(teacher, student, student_logits, labels, strict=True):
            total -= torch.log(softened(row, 1)[label])
            p_group = [sum(p[c] for c in group) for group in groups]
            q_group = [sum(q[c] for c in group) for group in groups]
            scaled = [
                (len(teacher) / len(groups)) / s * m if rebalance else m
                for s, m in zip(sums, p_group, strict=True)
            ]
            target = [m / sum(scaled) for m in scaled]
            between = sum(t * torch.log(t / m) for t, m in zip(target, q_group, strict=True))
            total += temperature**2 * between_weight * between
            for group, p_mass, q_mass in zip(groups, p_group, q_group, strict=True):
                within = sum(
                    p[c] / p_mass * torch.log((p[c] / p_mass) / (q[c] / q_mass)) for c in group
                )
                weight = 1 if reweight else p_mass
                total += temperature**2 * within_weight * weight * within
        return total / len(labels)

    return definition


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("rebalance", [False, True])
@pytest.mark.parametrize("reweight", [False, True])
def test_follows_its_definition(assert_follows, temperature, rebalance, reweight):
    options = {
        "between_weight": 0.7,
        "within_weight": 1.9,
        "temperature": temperature,
        "rebalance": rebalance,
        "reweight": reweight,
    }
    definition = long_tailed(**options)
    assert_follows(LongTailedDistillation, definition, mixed=beside_the_teacher, **options)


def test_defaults_are_the_documented_ones(assert_follows):
    definition = long_tailed(1, 1, 4, True, True)
    assert_follows(LongTailedDistillation, definition, mixed=beside_the_teacher)


@pytest.mark.parametrize("counts", [(50, 3), (9, 2, 5), (90, 40, 20, 9, 4, 2, 1)])
def test_is_plain_kd_without_its_corrections(loss_of, counts):
    uncorrected = loss_of(LongTailedDistillation, counts, **UNCORRECTED)
    options = {"label_weight": 1.0, "distillation_weight": 1.0, "temperature": 4.0}
    torch.testing.assert_close(uncorrected, loss_of(KnowledgeDistillation, counts, **options))


def test_is_cross_entropy_when_the_teacher_has_no_weight(loss_of):
    options = {"between_weight": 0.0, "within_weight": 0.0}
    torch.testing.assert_close(loss_of(LongTailedDistillation, **options), loss_of(CrossEntropy))


def test_groups_are_thirds_by_rank_even_where_every_class_is_large(make_task):
    method = LongTailedDistillation(make_task((300, 500, 400, 900, 700, 800)))
    assert method.by_group.tolist() == [3, 5, 1, 4, 0, 2]
    assert method.group_sizes == [2, 2, 2]


def test_a_hundred_classes_form_groups_of_33_34_and_33(make_task):
    method = LongTailedDistillation(make_task(tuple(range(200, 100, -1))))
    assert method.group_sizes == [33, 34, 33]


def test_rebalancing_asks_for_equal_group_probabilities_of_samples_that_agree(
    make_task, make_batch
):
    task = make_task((90, 40, 20))
    _, batch = make_batch(task, 4)
    batch.teachers[0]["logits"][:] = torch.tensor([7.0, 2.0, -3.0])
    even = LongTailedDistillation(task)({"logits": torch.zeros(4, 3)}, batch)["between-groups"]
    assert abs(even.item()) < 1e-5


def test_rebalancing_keeps_how_samples_differ(make_task, make_batch):
    task = make_task((90, 40, 20))
    _, batch = make_batch(task, 3)
    batch.teachers[0]["logits"][:] = 9 * torch.eye(3)
    term = LongTailedDistillation(task, temperature=1.0)
    alike = term({"logits": 9 * torch.eye(3)}, batch)["between-groups"]
    even = term({"logits": torch.zeros(3, 3)}, batch)["between-groups"]
    assert abs(alike.item()) < 1e-5
    assert even.item() > 1
