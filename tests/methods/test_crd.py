import math

import pytest
import torch
from torch.nn import functional as F

from ltkd_cli.errors import MethodError
from ltkd_cli.methods.contract import Batch
from ltkd_cli.methods.crd import ContrastiveDistillation

COUNTS = (6, 3, 2)
SMALL = {"negatives": 7, "embedding_width": 4, "temperature": 0.5}


class SlowContrast:
    """One direction, transcribed: own memory, own normaliser, one sample at a time."""

    def __init__(self, memory, temperature, momentum):
        self.memory = [row.clone() for row in memory]
        self.temperature, self.momentum, self.normaliser = temperature, momentum, None

    def loss(self, anchors, rows, negatives):
        masses = [
            [torch.exp(anchor @ self.memory[n] / self.temperature) for n in [row, *others]]
            for anchor, row, others in zip(anchors, rows, negatives, strict=True)
        ]
        if self.normaliser is None:
            drawn = [mass.detach() for sample in masses for mass in sample]
            self.normaliser = len(self.memory) * sum(drawn) / len(drawn)
        noise = len(negatives[0]) / len(self.memory)
        total = 0
        for own, *others in masses:
            total -= torch.log(own / self.normaliser / (own / self.normaliser + noise))
            for other in others:
                total -= torch.log(noise / (other / self.normaliser + noise))
        return total / len(anchors)

    def remember(self, rows, embeddings):
        for row, embedding in zip(rows, embeddings, strict=True):
            moved = self.momentum * self.memory[row] + (1 - self.momentum) * embedding.detach()
            self.memory[row] = moved / moved.norm()


def embedded(layer, features):
    embeddings = [layer.weight @ row + layer.bias for row in features]
    return [embedding / embedding.norm() for embedding in embeddings]


def negatives_of(method, batch):
    return [
        [row for row, times in enumerate(counts) for _ in range(int(times))]
        for counts in method.draw_negatives(batch).tolist()
    ]


def test_follows_its_definition_over_several_steps(make_task, make_batch):
    task = make_task(COUNTS, teacher_width=5)
    method = ContrastiveDistillation(task, weight=0.6, momentum=0.3, **SMALL).double()
    slow = {
        side: SlowContrast(getattr(method, side).embeddings, 0.5, 0.3)
        for side in ("of_student", "of_teacher")
    }
    for step in range(3):
        rows = torch.tensor([[0, 7, 10], [10, 1, 0], [4, 7, 5]][step])
        student, batch = make_batch(
            task, 3, rows=rows, seed=step, dtype=torch.float64, progress=step / 3
        )
        negatives = negatives_of(method, batch)
        mine = embedded(method.embed_student, student["features"])
        taught = embedded(method.embed_teacher, batch.teachers[0]["features"])
        wanted = slow["of_teacher"].loss(mine, rows.tolist(), negatives)
        wanted = wanted + slow["of_student"].loss(taught, rows.tolist(), negatives)
        found = method(student, batch)["contrast"]
        slow["of_student"].remember(rows.tolist(), mine)
        slow["of_teacher"].remember(rows.tolist(), taught)
        torch.testing.assert_close(found, 0.6 * wanted, rtol=1e-6, atol=1e-7)
        inputs = [student["features"], *method.parameters()]
        torch.testing.assert_close(
            torch.autograd.grad(found, inputs),
            torch.autograd.grad(0.6 * wanted, inputs),
            rtol=1e-6,
            atol=1e-7,
        )
    for side, transcription in slow.items():
        torch.testing.assert_close(
            getattr(method, side).embeddings, torch.stack(transcription.memory)
        )


def test_labels_count_as_plain_cross_entropy(make_task, make_batch):
    task = make_task(COUNTS)
    student, batch = make_batch(task, 5)
    terms = ContrastiveDistillation(task, **SMALL)(student, batch)
    torch.testing.assert_close(terms["label"], F.cross_entropy(student["logits"], batch.labels))


def test_a_student_that_embeds_like_the_teacher_has_a_smaller_loss(make_task, make_batch):
    task = make_task((40, 30, 20))
    method = ContrastiveDistillation(task, negatives=50)
    method.embed_student.load_state_dict(method.embed_teacher.state_dict())
    student, batch = make_batch(task, 16, rows=torch.arange(16))
    alike = {**student, "features": batch.teachers[0]["features"]}
    method(alike, batch)
    method.eval()
    assert method(alike, batch)["contrast"] < method(student, batch)["contrast"]


@pytest.mark.parametrize("counts", [(6, 3, 2), (2, 30, 1), (5, 0, 3)])
def test_negatives_are_of_other_classes_and_as_many_as_asked(make_task, make_batch, counts):
    task = make_task(counts)
    _, batch = make_batch(task, 20)
    drawn = ContrastiveDistillation(task, negatives=300).draw_negatives(batch)
    same_class = batch.labels[:, None] == task.labels
    assert not drawn[same_class].any()
    assert drawn.sum(1).tolist() == [300] * 20
    assert (drawn[~same_class] > 0).all()


def test_negatives_are_uniform_over_other_classes_in_any_row_order(make_task):
    task = make_task((3, 4, 5))
    shuffled = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    task.labels.copy_(task.labels[shuffled])
    batch = Batch(task.labels, torch.arange(12), (), torch.tensor(0.25, dtype=torch.float64))
    drawn = ContrastiveDistillation(task, negatives=20_000).draw_negatives(batch)
    other = task.labels[:, None] != task.labels
    expected = other * 20_000 / other.sum(1, keepdim=True)
    deviation = (drawn - expected) / expected.clamp(min=1).sqrt()
    assert deviation.abs().max() < 5


def test_negatives_depend_on_seed_progress_and_row_only(make_task, make_batch):
    task = make_task((30, 20, 10))
    method = ContrastiveDistillation(task, negatives=100)

    def drawn(method=method, progress=0.5, rows=(1, 50)):
        _, batch = make_batch(task, 2, rows=torch.tensor(rows), progress=progress)
        return method.draw_negatives(batch)

    assert torch.equal(drawn(), drawn())
    assert torch.equal(drawn(), drawn(rows=(50, 1)).flip(0))
    assert not torch.equal(drawn(), drawn(progress=0.5 + 1e-9))
    assert not torch.equal(drawn(rows=(1, 2))[0], drawn(rows=(1, 2))[1])
    other_seed = ContrastiveDistillation(make_task((30, 20, 10), seed=1), negatives=100)
    assert not torch.equal(drawn(), drawn(other_seed))


def test_one_class_alone_has_no_negatives_and_a_finite_loss(make_task, make_batch):
    task = make_task((9, 0))
    student, batch = make_batch(task, 4)
    method = ContrastiveDistillation(task, **SMALL)
    loss = sum(method(student, batch).values())
    assert not method.draw_negatives(batch).any()
    assert torch.isfinite(loss)
    assert torch.isfinite(torch.autograd.grad(loss, student["features"])[0]).all()


def test_a_sharp_temperature_stays_finite(make_task, make_batch):
    task = make_task(COUNTS)
    student, batch = make_batch(task, 5)
    assert torch.isfinite(
        ContrastiveDistillation(task, negatives=7, temperature=0.001)(student, batch)["contrast"]
    )


def test_same_step_from_the_same_state_gives_the_same_loss(make_task, make_batch):
    task = make_task(COUNTS)
    first, second = (ContrastiveDistillation(task, **SMALL) for _ in range(2))
    for progress in (0.0, 0.1):
        student, batch = make_batch(task, 5, progress=progress)
        assert torch.equal(first(student, batch)["contrast"], second(student, batch)["contrast"])


def test_resumes_exactly_from_its_state(make_task, make_batch):
    task = make_task(COUNTS)
    method, resumed = (ContrastiveDistillation(task, **SMALL) for _ in range(2))
    method(*make_batch(task, 5, seed=1))
    resumed.load_state_dict(method.state_dict())
    student, batch = make_batch(task, 5, progress=0.6)
    assert torch.equal(resumed(student, batch)["contrast"], method(student, batch)["contrast"])


def test_the_normaliser_is_that_of_the_first_batch(make_task, make_batch):
    task = make_task(COUNTS)
    method = ContrastiveDistillation(task, **SMALL)
    method(*make_batch(task, 5, seed=1))
    first = method.of_student.log_normaliser.clone()
    method(*make_batch(task, 5, seed=2))
    assert torch.equal(method.of_student.log_normaliser, first)


def test_nothing_is_remembered_outside_training(make_task, make_batch):
    task = make_task(COUNTS)
    method = ContrastiveDistillation(task, **SMALL).eval()
    before = {name: value.clone() for name, value in method.state_dict().items()}
    method(*make_batch(task, 5))
    torch.testing.assert_close(method.state_dict(), before, rtol=0, atol=0)


def test_a_row_drawn_twice_is_remembered_once_as_first_drawn(make_task, make_batch):
    task = make_task(COUNTS)
    method, single = (ContrastiveDistillation(task, **SMALL) for _ in range(2))
    student, batch = make_batch(task, 3, rows=torch.tensor([4, 4, 9]))
    method(student, batch)
    kept = [0, 2]
    part = {name: values[kept] for name, values in student.items()}
    taught = {name: values[kept] for name, values in batch.teachers[0].items()}
    single(part, Batch(batch.labels[kept], batch.rows[kept], (taught,), batch.progress))
    torch.testing.assert_close(method.of_student.embeddings, single.of_student.embeddings)


def test_memories_begin_with_length_one_on_average(make_task):
    method = ContrastiveDistillation(make_task((300, 200)))
    for memory in (method.of_student.embeddings, method.of_teacher.embeddings):
        assert memory.square().sum(1).mean() == pytest.approx(1, abs=0.02)
        assert memory.abs().max() <= math.sqrt(3 / 128)
    assert not torch.equal(method.of_student.embeddings, method.of_teacher.embeddings)


@pytest.mark.parametrize(
    "options",
    [
        *({"negatives": 0}, {"negatives": 10**12}, {"embedding_width": 10**12}),
        *({"momentum": 1.0}, {"temperature": 0.0}),
    ],
)
def test_refuses_options_without_meaning(make_task, options):
    with pytest.raises(MethodError):
        ContrastiveDistillation(make_task(COUNTS), **options)
