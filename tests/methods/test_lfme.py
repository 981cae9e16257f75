import dataclasses
from functools import cache

import pytest
import torch
from torch.nn import functional as F

from ltkd_cli.cache import Cache, CacheWriter, Layout
from ltkd_cli.commands import caches
from ltkd_cli.methods.contract import Batch
from ltkd_cli.methods.kd import KnowledgeDistillation
from ltkd_cli.methods.lfme import MultipleExperts, class_floors, curriculum_weights

COUNTS = (300, 200, 50, 30, 8, 4)
GROUPS = ((0, 1), (2, 3), (4, 5))


def with_experts(task, groups=GROUPS):
    """The task with one teacher for each group of classes."""
    experts = [dataclasses.replace(task.teachers[0], classes=group) for group in groups]
    return dataclasses.replace(task, teachers=tuple(experts))


def softened(row, classes, temperature):
    masses = [torch.exp(row[c] / temperature) for c in classes]
    return [mass / sum(masses) for mass in masses]


class SlowExperts:
    """The method transcribed, one sample at a time, with its running accuracies."""

    def __init__(self, task, groups, weight, temperature):
        self.task = task
        self.groups, self.weight, self.temperature = groups, weight, temperature
        self.student_hits, self.expert_hits = [0.0] * len(groups), [0.0] * len(groups)

    def group_weight(self, g):
        if self.student_hits[g] < 0.3 * self.expert_hits[g] or not self.expert_hits[g]:
            return 1.0
        return max((1 - self.student_hits[g] / self.expert_hits[g]) / 0.7, 0.0)

    @cache  # noqa: B019, slow enough without it
    def confidence(self, row):
        label = int(self.task.labels[row])
        g = next(g for g, group in enumerate(self.groups) if label in group)
        clean = torch.cat(self.task.teachers[g].clean("logits"))[row].double()
        return float(softened(clean, self.groups[g], 1)[self.groups[g].index(label)])

    def start(self, row):
        """The authors' rescaling of an image's weight within its class."""
        label = int(self.task.labels[row])
        group = next(group for group in self.groups if label in group)
        of_class = [self.confidence(r) for r in range(len(self.task.labels))
                    if self.task.labels[r] == label]  # fmt: skip
        mean_of_group = sum(COUNTS[c] for c in group) / len(group)
        mean_of_rarest = sum(COUNTS[c] for c in self.groups[-1]) / len(self.groups[-1])
        floor = round(mean_of_rarest) / round(mean_of_group)
        relative = (self.confidence(row) - min(of_class)) / (max(of_class) - min(of_class))
        return relative * (1 - floor) + floor

    def instance_weight(self, start, progress):
        return min(1.0, start + (1 - start) * progress / 0.5)

    def images(self, batch, i):
        """Rows and labels that image i of a batch is made of, each with its share."""
        row, label = int(batch.rows[i]), int(batch.labels[i])
        if batch.partners is None:
            return [(1.0, row, label)]
        share = float(batch.partners.shares[i])
        partner = int(batch.partners.rows[i]), int(batch.partners.labels[i])
        return [(share, row, label), (1 - share, *partner)]

    def loss(self, student, batch, progress):
        total = 0
        for i in range(len(batch.labels)):
            images = self.images(batch, i)
            start = sum(share * self.start(row) for share, row, _ in images)
            logits = student["logits"][i] * self.instance_weight(start, progress)
            for share, _, label in images:
                total -= share * torch.log(softened(logits, range(len(logits)), 1)[label])
            for g, group in enumerate(self.groups):
                target = softened(batch.teachers[g]["logits"][i], group, self.temperature)
                answer = softened(logits, group, self.temperature)
                pairs = zip(target, answer, strict=True)
                divergence = sum(p * torch.log(p / q) for p, q in pairs)
                total += self.weight * self.group_weight(g) * divergence
        self.count(student["logits"], batch)
        return total / len(batch.labels)

    def count(self, logits, batch):
        for g, group in enumerate(self.groups):
            self.student_hits[g] *= 0.99
            self.expert_hits[g] *= 0.99
            for i in range(len(batch.labels)):
                expert = max(group, key=lambda c: batch.teachers[g]["logits"][i, c])
                for share, _, label in self.images(batch, i):
                    if label in group:
                        self.student_hits[g] += share * (int(logits[i].argmax()) == label)
                        self.expert_hits[g] += share * (expert == label)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("progresses", [(0.0, 0.1, 0.2, 0.3), (0.4, 0.5, 0.6, 0.99)])
def test_follows_its_definition_over_several_steps(make_task, make_batch, mix, progresses, mixed):
    task = with_experts(make_task(COUNTS))
    slow = SlowExperts(task, GROUPS, weight=1.4, temperature=3.0)
    method = MultipleExperts(task, weight=1.4, temperature=3.0).double()
    rows = torch.arange(0, len(task.labels), 11)
    for seed, progress in enumerate(progresses):
        student, batch = make_batch(
            task, len(rows), rows=rows, seed=seed, progress=progress, dtype=torch.float64
        )
        batch = mix(task, batch, seed=seed) if mixed else batch
        found = sum(method(student, batch).values())
        wanted = slow.loss(student, batch, progress)
        torch.testing.assert_close(found, wanted)
        torch.testing.assert_close(
            torch.autograd.grad(found, student["logits"]),
            torch.autograd.grad(wanted, student["logits"]),
        )
    weights = [slow.group_weight(g) for g in range(3)]
    assert any(0 < weight < 1 for weight in weights)


def test_defaults_are_weight_one_at_temperature_two(make_task, make_batch):
    task = with_experts(make_task(COUNTS))
    student, batch = make_batch(task, 6, dtype=torch.float64)
    loss = sum(MultipleExperts(task).double()(student, batch).values())
    torch.testing.assert_close(loss, SlowExperts(task, GROUPS, 1.0, 2.0).loss(student, batch, 0.5))


def test_an_experts_answers_for_classes_of_others_do_not_matter(make_task, make_batch):
    task = with_experts(make_task(COUNTS))
    student, batch = make_batch(task, 6, progress=0.1)
    before = MultipleExperts(task)(student, batch)
    for group, outputs in zip(GROUPS, batch.teachers, strict=True):
        foreign = [c for c in range(6) if c not in group]
        outputs["logits"][:, foreign] = 1e4
    torch.testing.assert_close(MultipleExperts(task)(student, batch), before)


def test_one_cache_of_all_classes_stands_for_an_expert_of_each_group(make_task, make_batch):
    task = make_task(COUNTS)
    student, batch = make_batch(task, 6, progress=0.1)
    thrice = Batch(batch.labels, batch.rows, batch.teachers * 3, batch.progress)
    torch.testing.assert_close(
        MultipleExperts(task)(student, batch),
        MultipleExperts(with_experts(task))(student, thrice),
    )


def test_is_kd_without_squared_temperature_when_one_expert_knows_every_class(make_task, make_batch):
    task = with_experts(make_task(COUNTS), [tuple(range(6))])
    student, batch = make_batch(task, 6)
    plain = KnowledgeDistillation(
        task, label_weight=1.0, distillation_weight=1 / 9, temperature=3.0
    )
    ours = MultipleExperts(task, temperature=3.0)
    torch.testing.assert_close(
        sum(ours(student, batch).values()), sum(plain(student, batch).values())
    )


def test_is_cross_entropy_when_the_weight_is_zero_and_the_curriculum_off(make_task, make_batch):
    task = with_experts(make_task(COUNTS))
    student, batch = make_batch(task, 6, progress=0.0)
    loss = sum(MultipleExperts(task, weight=0.0, curriculum=False)(student, batch).values())
    torch.testing.assert_close(loss, F.cross_entropy(student["logits"], batch.labels))


def perfect(task, batch):
    """Logits that are right for every label."""
    return {"logits": 9.0 * F.one_hot(batch.labels, task.classes)}


def experts_term(method, student, batch):
    return method(student, batch)["experts"]


@pytest.mark.parametrize("adaptive", [True, False])
def test_experts_are_left_when_the_student_knows_as_much_only_if_adaptive(
    make_task, make_batch, adaptive
):
    task = with_experts(make_task(COUNTS))
    rows = torch.arange(0, len(task.labels), 11)
    student, batch = make_batch(task, len(rows), rows=rows)
    method = MultipleExperts(task, adaptive=adaptive)
    assert experts_term(method, perfect(task, batch), batch) > 0
    left = experts_term(method, student, batch) == 0
    assert bool(left) is adaptive


def test_experts_are_followed_fully_while_the_student_is_wrong(make_task, make_batch):
    task = with_experts(make_task(COUNTS))
    _, batch = make_batch(task, 30)
    wrong = {"logits": -perfect(task, batch)["logits"]}
    adaptive, full = MultipleExperts(task), MultipleExperts(task, adaptive=False)
    torch.testing.assert_close(
        experts_term(adaptive, wrong, batch), experts_term(full, wrong, batch)
    )


def test_accuracies_move_in_training_only_and_are_saved(make_task, make_batch):
    task = with_experts(make_task(COUNTS))
    student, batch = make_batch(task, 30)
    method, resumed = MultipleExperts(task), MultipleExperts(task)
    method.eval()(perfect(task, batch), batch)
    assert not method.experts[0].correct.any()
    method.train()(perfect(task, batch), batch)
    resumed.load_state_dict(method.state_dict())
    torch.testing.assert_close(resumed(student, batch), method(student, batch), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("progress", "weight"), [(0.0, 0.2), (0.25, 0.6), (0.5, 1.0), (0.75, 1.0), (0.99, 1.0)]
)
def test_curriculum_rises_from_the_confidence_to_one_at_half_of_the_training(progress, weight):
    now = torch.tensor(progress, dtype=torch.float64)
    torch.testing.assert_close(
        curriculum_weights(torch.tensor([0.2, 1.0]), now), torch.tensor([weight, 1.0])
    )


def started(task):
    return MultipleExperts(task).starts


@pytest.mark.parametrize("groups", [GROUPS, ((0, 1, 2), (2, 3), (4,)), [tuple(range(6))]])
@pytest.mark.parametrize("size", [1, 77, 592])
def test_logits_are_read_in_blocks_of_rows_with_the_same_weights(make_task, groups, size):
    task = with_experts(make_task(COUNTS), groups)

    def in_blocks(teacher):
        return dataclasses.replace(
            teacher, clean=lambda name: torch.cat(teacher.clean(name)).split(size)
        )

    teachers = tuple(map(in_blocks, task.teachers))
    assert torch.equal(started(dataclasses.replace(task, teachers=teachers)), started(task))


@pytest.fixture
def cache(tmp_path, make_task):
    """Two views of each image of a task."""
    task = make_task(COUNTS)
    layout = Layout.even(task.labels.numpy(), len(COUNTS), views=2)
    attributes = {
        "fingerprint": "f" * 64, "class_names": list("abcdef"), "class_counts": list(COUNTS),
    }  # fmt: skip
    with CacheWriter(tmp_path / "cache.h5", layout, attributes) as writer:
        generator = torch.Generator().manual_seed(0)
        writer.write(0, 3 * torch.randn(layout.entries, 6, generator=generator).numpy())
        return Cache.open(writer.finish())


def test_of_a_cache_only_a_block_of_clean_rows_is_read_at_a_time(cache, monkeypatch):
    monkeypatch.setattr(caches, "CLEAN_VALUES", 600)
    teacher = caches.teacher_of(cache)
    blocks = list(teacher.clean("logits"))
    assert [len(block) for block in blocks] == [100] * 5 + [92]
    assert torch.equal(torch.cat(blocks), cache.tensor("logits")[::2].float())


def test_every_class_starts_between_its_floor_and_one(make_task):
    task = with_experts(make_task(COUNTS))
    for group, floor in zip(GROUPS, (6 / 250, 6 / 40, 1), strict=True):
        for label in group:
            own = started(task)[task.labels == label]
            assert own.min() == pytest.approx(floor)
            assert own.max() == 1


def test_floors_on_imagenet_lt_are_those_of_the_authors(make_task):
    # The means that their code notes: 230.37 of 385 classes, 53.25 of 479 and 12.08 of 136.
    counts = (*[231] * 142, *[230] * 243, *[54] * 120, *[53] * 359, *[13] * 11, *[12] * 125)
    task = make_task(counts)
    assert [len(task.groups.classes(name)) for name in ("head", "medium", "tail")] == [
        385, 479, 136,
    ]  # fmt: skip
    floors = class_floors(task)
    assert floors[[0, 384]].tolist() == pytest.approx([12 / 230] * 2)
    assert floors[[385, 863]].tolist() == pytest.approx([12 / 53] * 2)
    assert floors[864:].eq(1).all()


def test_an_only_image_of_a_class_counts_fully_from_the_start(make_task):
    task = with_experts(make_task((1, 200, 50, 30, 8, 4)))
    assert started(task)[0] == 1


def test_images_of_low_shot_classes_count_fully_however_unsure_the_expert(make_task):
    task = with_experts(make_task(COUNTS))
    unsure = [
        dataclasses.replace(t, clean=lambda name: [torch.randn(592, 6)]) for t in task.teachers
    ]
    rare = task.labels >= 4
    assert started(dataclasses.replace(task, teachers=tuple(unsure)))[rare].eq(1).all()


def test_images_of_a_class_without_an_expert_count_fully(make_task, make_batch):
    task = with_experts(make_task(COUNTS), [(0, 1), (2, 3)])
    student, batch = make_batch(task, 2, rows=torch.tensor([590, 591]), progress=0.0)
    label = MultipleExperts(task)(student, batch)["label"]
    torch.testing.assert_close(label, F.cross_entropy(student["logits"], batch.labels))
