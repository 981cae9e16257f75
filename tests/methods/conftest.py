"""A small long-tailed task and batches of it, for the tests of every method."""

import dataclasses

import pytest
import torch
from mixtures import by_image

from ltkd_cli.data.groups import group_classes
from ltkd_cli.methods.contract import Batch, Partners, Task, Teacher
from ltkd_cli.outputs import Outputs

WIDTH = 8


def _teacher(labels, classes, width, generator):
    features = torch.randn(len(labels), width, generator=generator)
    weights = torch.randn(width, classes, generator=generator)
    outputs = {"logits": features @ weights, "features": features}
    return Teacher(width=width, clean=lambda name: outputs[name].split(100))


@pytest.fixture
def make_task():
    """make_task(class_counts, teachers=1, ...) -> Task; its rows are ordered by class."""

    def make(class_counts, *, teachers=1, student_width=WIDTH, teacher_width=WIDTH, seed=0):
        generator = torch.Generator().manual_seed(seed)
        counts = torch.as_tensor(class_counts)
        labels = torch.arange(len(counts)).repeat_interleave(counts)
        return Task(
            class_counts=counts,
            labels=labels,
            groups=group_classes(counts.tolist()),
            student_width=student_width,
            teachers=tuple(
                _teacher(labels, len(counts), teacher_width, generator) for _ in range(teachers)
            ),
            seed=seed,
        )

    return make


@pytest.fixture
def make_batch():
    """make_batch(task, size, ...) -> (student outputs that require gradients, Batch)."""

    def make(task, size, *, rows=None, progress=0.5, scale=1.0, seed=0, dtype=torch.float32):
        generator = torch.Generator().manual_seed(seed)
        if rows is None:
            rows = torch.randint(len(task.labels), (size,), generator=generator)

        def outputs(width) -> Outputs:
            return {
                "logits": scale * torch.randn(size, task.classes, generator=generator).to(dtype),
                "features": torch.randn(size, width, generator=generator).to(dtype),
            }

        student = {name: x.requires_grad_() for name, x in outputs(task.student_width).items()}
        teachers = tuple(outputs(teacher.width) for teacher in task.teachers)
        return student, Batch(
            labels=task.labels[rows],
            rows=rows,
            teachers=teachers,
            progress=torch.tensor(progress, dtype=torch.float64),
        )

    return make


@pytest.fixture
def mix():
    """mix(task, batch, shares=None, ...) -> the batch with partners, by random shares."""

    def with_partners(task, batch, shares=None, *, rows=None, seed=0):
        # Other rows than make_batch draws by the same seed.
        generator, size = torch.Generator().manual_seed(seed + 1000), len(batch.labels)
        if rows is None:
            rows = torch.randint(len(task.labels), (size,), generator=generator)
        if shares is None:
            shares = torch.rand(size, generator=generator)
        shares = torch.as_tensor(shares).float().expand(size)
        partners = Partners(task.labels[rows], rows, shares)
        return dataclasses.replace(batch, partners=partners)

    return with_partners


GRID = [
    (1, (40, 2)),
    (4, (2, 9, 5)),
    (7, (500, 300, 100, 40, 10, 3, 1)),
]
"""Batch size, and images of each class."""

TOLERANCE = {
    torch.float32: {"rtol": 3e-5, "atol": 3e-6},
    torch.float64: {"rtol": 1e-6, "atol": 1e-7},
}
"""Class weights are kept in float32, so float64 agrees to about seven digits."""


@pytest.fixture
def assert_follows(make_task, make_batch, mix):
    """assert_follows(method, definition, **options): same loss, same gradient as the definition.

    `definition(student_logits, teacher_logits, labels, counts)` is a slow transcription in
    float64; it is compared over a grid of batches, in both precisions, without and with
    mixtures. `mixed` makes the loss of mixtures from the definition.
    """

    def compare(method, student, batch, dtype, definition):
        loss = sum(method(student, batch).values())
        (gradient,) = torch.autograd.grad(loss, student["logits"])
        logits = student["logits"].detach().double().requires_grad_()
        wanted = definition(logits, batch.teacher_logits.double())
        (wanted_gradient,) = torch.autograd.grad(wanted, logits)
        torch.testing.assert_close(loss, wanted.to(dtype), **TOLERANCE[dtype])
        torch.testing.assert_close(gradient, wanted_gradient.to(dtype), **TOLERANCE[dtype])

    def check(method, definition, *, scale=3.0, progress=0.5, mixed=by_image, **options):
        for size, counts in GRID:
            for dtype in TOLERANCE:
                task = make_task(counts)
                student, batch = make_batch(
                    task, size, progress=progress, scale=scale, dtype=dtype, seed=size
                )
                own = method(task, **options).to(dtype)

                def plain(logits, taught, batch=batch, counts=counts):
                    return definition(logits, taught, batch.labels, counts)

                compare(own, student, batch, dtype, plain)
                mixture = mix(task, batch, seed=size)

                def both(logits, taught, mixture=mixture, counts=counts):
                    return mixed(definition, logits, taught, mixture, counts)

                compare(own, student, mixture, dtype, both)

    return check


@pytest.fixture
def loss_of(make_task, make_batch):
    """loss_of(method, counts, **options) -> (loss, its gradient by the student's logits)."""

    def compute(method, counts=(50, 20, 8, 3), *, size=6, progress=0.5, scale=3.0, **options):
        task = make_task(counts)
        student, batch = make_batch(task, size, progress=progress, scale=scale)
        loss = sum(method(task, **options)(student, batch).values())
        (gradient,) = torch.autograd.grad(loss, student["logits"])
        return loss.detach(), gradient

    return compute
