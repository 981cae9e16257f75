import pytest
import torch
from torch.nn import functional as F

from ltkd_cli.methods.finding import find

SimilarityPreserving = find("similarity")


def gram(features):
    rows = []
    for one in features:
        products = [sum(a * b for a, b in zip(one, other, strict=True)) for other in features]
        length = torch.sqrt(sum(product**2 for product in products))
        rows.append([product / length for product in products])
    return rows


def definition(student, batch, weight=3000.0):
    label_loss, squares, size = 0, 0, len(batch.labels)
    for logits, label in zip(student["logits"], batch.labels, strict=True):
        label_loss += torch.log(sum(torch.exp(z) for z in logits)) - logits[label]
    pairs = zip(gram(student["features"]), gram(batch.teachers[0]["features"]), strict=True)
    for ours, theirs in pairs:
        squares += sum((a - b) ** 2 for a, b in zip(ours, theirs, strict=True))
    return label_loss / size + weight * squares / size**2


@pytest.mark.parametrize("widths", [(8, 8), (3, 8)])
@pytest.mark.parametrize("size", [2, 5])
@pytest.mark.parametrize("options", [{}, {"weight": 2.5}])
def test_follows_its_definition(make_task, make_batch, widths, size, options):
    task = make_task((9, 4, 1), student_width=widths[0], teacher_width=widths[1])
    student, batch = make_batch(task, size, dtype=torch.float64)
    inputs = [student["logits"], student["features"]]
    found = sum(SimilarityPreserving(task, **options)(student, batch).values())
    wanted = definition(student, batch, **options)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(
        torch.autograd.grad(found, inputs), torch.autograd.grad(wanted, inputs)
    )


def test_is_cross_entropy_when_the_weight_is_zero(make_task, make_batch):
    task = make_task((9, 4, 1))
    student, batch = make_batch(task, 5)
    loss = sum(SimilarityPreserving(task, weight=0.0)(student, batch).values())
    torch.testing.assert_close(loss, F.cross_entropy(student["logits"], batch.labels))


def test_a_student_that_turns_the_teachers_features_pays_nothing(make_task, make_batch):
    task = make_task((9, 4, 1))
    student, batch = make_batch(task, 5, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(8, 8, generator=generator, dtype=torch.float64)
    turned = batch.teachers[0]["features"] @ torch.linalg.qr(drawn).Q
    terms = SimilarityPreserving(task)({**student, "features": turned}, batch)
    assert terms["similarity"].item() < 1e-20


def test_an_image_alone_in_its_batch_resembles_itself_and_teaches_nothing(make_task, make_batch):
    task = make_task((9, 4, 1))
    student, batch = make_batch(task, 1)
    assert SimilarityPreserving(task)(student, batch)["similarity"].item() == 0
