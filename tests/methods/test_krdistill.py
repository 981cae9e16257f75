import dataclasses
import math

import pytest
import torch
from frames import largest_cosine
from torch.nn import functional as F

from ltkd_cli.errors import MethodError
from ltkd_cli.methods.etf import balanced_frame, procrustes
from ltkd_cli.methods.kd import KnowledgeDistillation
from ltkd_cli.methods.krdistill import (
    KnowledgeRectificationDistillation,
    balanced_anchors,
    class_means,
    exchange_with_label,
)

COUNTS = (50, 9, 2)
OFF = {"exchange": False, "prior_strength": 0.0, "representation_weight": 0.0}


def softened(row, temperature):
    masses = [torch.exp(z / temperature) for z in row]
    return [mass / sum(masses) for mass in masses]


def unit(values):
    length = sum(value**2 for value in values) ** 0.5
    return [value / length for value in values]


def sample_weights(exponent):
    powers = [((1 - 0.9999) / (1 - 0.9999**n)) ** exponent for n in COUNTS]
    mean = sum(n * w for n, w in zip(COUNTS, powers, strict=True)) / sum(COUNTS)
    return [w / mean for w in powers]


def rectified(row, label, options):
    row = [z.clone() for z in row]
    if options["exchange"]:
        top = max(range(len(row)), key=lambda c: row[c])
        row[top], row[label] = row[label], row[top]
    prior = [math.log(n / sum(COUNTS)) for n in COUNTS]
    return [z - options["prior_strength"] * p for z, p in zip(row, prior, strict=True)]


def logit_definition(student, batch, options):
    total, weights = 0, sample_weights(options["sample_weight_exponent"])
    for i, label in enumerate(batch.labels.tolist()):
        temperature = options["temperature"]
        total -= torch.log(softened(student["logits"][i], 1)[label])
        target = rectified(batch.teachers[0]["logits"][i], label, options)
        pairs = zip(
            softened(target, temperature), softened(student["logits"][i], temperature), strict=True
        )
        divergence = sum(p * torch.log(p / q) for p, q in pairs)
        total += options["logit_weight"] * temperature**2 * weights[label] * divergence
    return total / len(batch.labels)


def representation_definition(student, batch, task, options):
    features = torch.cat(task.teachers[0].clean("features")).double()
    means = []
    for c in range(len(COUNTS)):
        rows = [unit(features[n]) for n in range(len(features)) if task.labels[n] == c]
        means.append([sum(column) / len(rows) for column in zip(*rows, strict=True)])
    anchors = balanced_anchors(torch.tensor(means, dtype=torch.float64)).tolist()
    total = 0
    for i, label in enumerate(batch.labels.tolist()):
        pull = options["pull"] * (1 - COUNTS[label] / max(COUNTS))
        own = batch.teachers[0]["features"][i].tolist()
        own = means[label] if options["target"] == "class-mean" else own
        target = unit(
            [(1 - pull) * f + pull * a for f, a in zip(unit(own), anchors[label], strict=True)]
        )
        pairs = zip(unit(student["features"][i]), target, strict=True)
        total += 1 - sum(a * b for a, b in pairs)
    return options["representation_weight"] * total / len(batch.labels)


def of_labels(student, batch, task, options, labels):
    """The whole loss of an image by itself, as if it were of another label."""
    batch = dataclasses.replace(batch, labels=labels)
    logits = logit_definition(student, batch, options)
    return logits + representation_definition(student, batch, task, options)


def of_mixtures(student, batch, task, options):
    total = 0
    for i, share in enumerate(batch.partners.shares.tolist()):
        one = slice(i, i + 1)
        alone = {name: values[one] for name, values in student.items()}
        taught = {name: values[one] for name, values in batch.teachers[0].items()}
        image = dataclasses.replace(batch, teachers=(taught,), partners=None)
        for labels, part in ((batch.labels, share), (batch.partners.labels, 1 - share)):
            total += part * of_labels(alone, image, task, options, labels[one])
    return total / len(batch.labels)


@pytest.mark.parametrize("size", [1, 6])
@pytest.mark.parametrize("exchange", [False, True])
@pytest.mark.parametrize("target", ["feature", "class-mean"])
def test_follows_its_definition(make_task, make_batch, mix, size, exchange, target):
    options = {
        "logit_weight": 1.3,
        "temperature": 3.0,
        "exchange": exchange,
        "prior_strength": 0.7,
        "sample_weight_exponent": 0.5,
        "representation_weight": 4.0,
        "pull": 0.6,
        "target": target,
    }
    task = make_task(COUNTS)
    student, batch = make_batch(task, size, dtype=torch.float64, scale=2.0, seed=size)
    method = KnowledgeRectificationDistillation(task, **options).double()
    mixture = mix(task, batch, seed=size)
    wanted = [
        (batch, of_labels(student, batch, task, options, batch.labels)),
        (mixture, of_mixtures(student, mixture, task, options)),
    ]
    inputs = [student["logits"], student["features"]]
    for given, slow in wanted:
        loss = sum(method(student, given).values())
        torch.testing.assert_close(loss, slow, rtol=1e-6, atol=1e-7)
        gradients = (torch.autograd.grad(each, inputs) for each in (loss, slow))
        torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-7)


def test_is_plain_kd_when_every_part_is_off(loss_of):
    plain = {"label_weight": 1.0, "distillation_weight": 1.7, "temperature": 3.0}
    ours = {"logit_weight": 1.7, "temperature": 3.0, **OFF}
    torch.testing.assert_close(
        loss_of(KnowledgeRectificationDistillation, **ours), loss_of(KnowledgeDistillation, **plain)
    )


@pytest.mark.parametrize(
    "part",
    [
        {"exchange": True},
        {"prior_strength": 1.0},
        {"sample_weight_exponent": 1.0},
        {"representation_weight": 1.0},
    ],
)
def test_every_part_changes_the_loss_on_its_own(loss_of, part):
    off, _ = loss_of(KnowledgeRectificationDistillation, **OFF)
    on, _ = loss_of(KnowledgeRectificationDistillation, **{**OFF, **part})
    assert not torch.isclose(on, off)


def test_exchange_makes_the_teacher_right_and_keeps_a_right_teacher():
    logits = torch.tensor([[3.0, 1.0, 2.0], [3.0, 1.0, 2.0], [5.0, 5.0, 0.0]])
    exchanged = exchange_with_label(logits, torch.tensor([1, 0, 1]))
    assert exchanged.tolist() == [[1.0, 3.0, 2.0], [3.0, 1.0, 2.0], [5.0, 5.0, 0.0]]


def test_taking_the_prior_out_of_the_prior_leaves_no_preference(make_task, make_batch):
    task = make_task(COUNTS)
    student, batch = make_batch(task, 4)
    prior = (task.class_counts / task.class_counts.sum()).log()
    batch.teachers[0]["logits"].copy_(prior.expand(4, -1))
    student = {**student, "logits": torch.zeros(4, 3)}
    options = {**OFF, "prior_strength": 1.0}
    terms = KnowledgeRectificationDistillation(task, **options)(student, batch)
    assert terms["distillation"].abs() < 1e-6


@pytest.mark.parametrize("exponent", [0.0, 0.3, 1.0])
def test_sample_weights_average_to_one_over_the_images(make_task, exponent):
    task = make_task(COUNTS)
    method = KnowledgeRectificationDistillation(task, sample_weight_exponent=exponent)
    torch.testing.assert_close(method.class_weights[task.labels].mean(), torch.tensor(1.0))


def loss_at(task, batch, features, label, **options):
    options = {"representation_weight": 1.0, **options}
    method = KnowledgeRectificationDistillation(task, **options)
    labels = torch.full_like(batch.labels, label)
    return method.representation(features, batch.teachers[0]["features"])(labels).mean()


def test_the_largest_class_keeps_the_teachers_features(make_task, make_batch):
    task = make_task(COUNTS)
    _, batch = make_batch(task, 4)
    same = batch.teachers[0]["features"]
    assert loss_at(task, batch, same, label=0, pull=1.0).abs() < 1e-6
    assert loss_at(task, batch, same, label=2, pull=1.0) > 0.1


def test_full_pull_takes_a_class_without_images_to_its_anchor(make_task, make_batch):
    task = make_task((50, 9, 0))
    _, batch = make_batch(task, 4)
    anchor = balanced_anchors(class_means(task.teachers[0], task.labels, 3))[2].float()
    distance = loss_at(task, batch, 7 * anchor.expand(4, -1), label=2, pull=1.0)
    assert distance.abs() < 1e-6


def test_class_means_as_targets_are_the_same_for_every_image(make_task, make_batch):
    task = make_task(COUNTS)
    student, batch = make_batch(task, 4)
    before = loss_at(task, batch, student["features"], label=1, target="class-mean")
    batch.teachers[0]["features"].neg_()
    assert torch.equal(
        loss_at(task, batch, student["features"], label=1, target="class-mean"), before
    )


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_class_means_do_not_depend_on_the_blocks_that_are_read(make_task, size):
    task = make_task(COUNTS)
    features = torch.cat(task.teachers[0].clean("features"))
    teacher = dataclasses.replace(task.teachers[0], clean=lambda name: features.split(size))
    expected = [F.normalize(features[task.labels == c].double(), dim=1).mean(0) for c in range(3)]
    torch.testing.assert_close(class_means(teacher, task.labels, 3), torch.stack(expected))


def test_anchors_stay_at_equal_angles_when_they_are_turned_onto_the_means():
    generator = torch.Generator().manual_seed(0)
    means = torch.rand(5, 8, generator=generator, dtype=torch.float64)
    anchors = balanced_anchors(means)
    assert largest_cosine(anchors) == pytest.approx(-1 / 4)
    cosines = (anchors @ anchors.T).fill_diagonal_(-1 / 4)
    torch.testing.assert_close(cosines, torch.full_like(cosines, -1 / 4))


def test_where_no_simplex_fits_each_class_gets_the_anchor_that_suits_it():
    generator = torch.Generator().manual_seed(0)
    means = torch.rand(14, 5, generator=generator, dtype=torch.float64)
    frame = balanced_frame(14, 5)
    in_order = frame @ procrustes(frame, means)
    assigned = balanced_anchors(means)
    assert (assigned * means).sum() > (in_order * means).sum()
    assert largest_cosine(assigned) == pytest.approx(largest_cosine(frame))


def test_a_teacher_with_balanced_means_is_reproduced_by_its_anchors():
    generator = torch.Generator().manual_seed(0)
    rotation = torch.linalg.qr(torch.randn(8, 8, generator=generator, dtype=torch.float64)).Q
    corners = torch.eye(5, dtype=torch.float64) - 1 / 5
    balanced = F.normalize(corners, dim=1) @ rotation[:5]
    torch.testing.assert_close(balanced_anchors(0.3 * balanced), balanced)


def test_only_different_widths_are_projected(make_task):
    same = KnowledgeRectificationDistillation(make_task(COUNTS))
    wider = KnowledgeRectificationDistillation(make_task(COUNTS, teacher_width=12))
    assert not list(same.parameters())
    assert [tuple(p.shape) for p in wider.parameters()] == [(12, 8), (12,)]


def test_same_task_gives_the_same_method(make_task):
    first, second = (
        KnowledgeRectificationDistillation(make_task(COUNTS, teacher_width=12)) for _ in range(2)
    )
    torch.testing.assert_close(first.state_dict(), second.state_dict(), rtol=0, atol=0)


def test_refuses_an_unknown_target(make_task):
    with pytest.raises(MethodError, match="feature or class-mean, not 'mean'"):
        KnowledgeRectificationDistillation(make_task(COUNTS), target="mean")


def test_says_that_it_is_a_reconstruction():
    first = KnowledgeRectificationDistillation.__doc__.splitlines()[0]
    assert "reconstruction from the abstract" in first
