"""What every method must do, whoever wrote it: a new file in `methods/` is tested by existing."""

import dataclasses

import pytest
import torch

from ltkd_cli.errors import MethodError
from ltkd_cli.methods.finding import all_names, find, name_of, source_of
from ltkd_cli.methods.options import options, parse_options

WIDTH = 8
COUNTS = (120, 60, 30, 12, 5, 2)
TWO = (40, 3)
MANY = (*[3] * 100, *[1] * 8042)

every_method = pytest.mark.parametrize("name", all_names())
every_mixing_method = pytest.mark.parametrize(
    "name", [name for name in all_names() if find(name).mixtures]
)


@pytest.fixture
def make(make_task, make_batch):
    """make(name, counts, size, ...) -> (method, student outputs, Batch), as a run has them."""

    def build(name, counts=COUNTS, size=6, *, teachers=1, options=None, **settings):
        width = find(name).projection(WIDTH, (WIDTH,) * teachers) or WIDTH
        task = make_task(counts, teachers=teachers, student_width=width, teacher_width=WIDTH)
        return find(name)(task, **(options or {})), *make_batch(task, size, **settings)

    return build


@pytest.fixture
def run(make):
    """run(name, ...) -> (terms, gradients by the student's logits and features)."""

    def compute(name, *arguments, dtype=torch.float32, **settings):
        method, student, batch = make(name, *arguments, dtype=dtype, **settings)
        terms = method.to(dtype)(student, batch)
        gradients = torch.autograd.grad(
            sum(terms.values()), list(student.values()), allow_unused=True
        )
        return terms, [gradient for gradient in gradients if gradient is not None]

    return compute


def on_meta(outputs):
    return {name: values.to("meta") for name, values in outputs.items()}


def has_temperature(name):
    return "temperature" in [option.name for option in options(find(name))]


def flipped_switches():
    """Every option that is true or false, with the value it does not have by default."""
    for name in all_names():
        for option in options(find(name)):
            if option.kind is bool:
                yield name, option.name, not option.default


def assert_sound(terms, gradients):
    for value in terms.values():
        assert value.shape == ()
        assert value.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert any((gradient != 0).any() for gradient in gradients)


@every_method
@pytest.mark.parametrize("progress", [0.0, 0.5, 0.99])
def test_terms_are_finite_scalars_with_gradients(run, name, progress):
    terms, gradients = run(name, progress=progress)
    assert terms
    assert_sound(terms, gradients)


@every_method
def test_every_option_at_its_default_is_one_the_command_line_accepts(name):
    method = find(name)
    texts = [f"{option.name}={option.default}" for option in options(method)]
    assert parse_options(method, texts) == parse_options(method, [])


@every_method
def test_terms_are_float32_for_float32_outputs(run, name):
    terms, _ = run(name)
    assert {value.dtype for value in terms.values()} == {torch.float32}


@every_method
def test_a_batch_of_one_is_sound(run, name):
    assert_sound(*run(name, size=1))


@every_method
def test_a_class_missing_from_the_batch_is_sound(run, name):
    assert_sound(*run(name, rows=torch.tensor([0, 1, 2, 121, 122, 119])))


@every_method
@pytest.mark.parametrize("size", [1, 5])
def test_two_classes_are_sound(run, name, size):
    assert_sound(*run(name, TWO, size))


@every_method
def test_thousands_of_classes_are_sound(run, name):
    assert_sound(*run(name, MANY, 3))


@every_method
@pytest.mark.parametrize("counts", [COUNTS, TWO])
def test_logits_of_ten_thousand_stay_finite(run, name, counts):
    terms, gradients = run(name, counts, scale=1e4)
    assert all(value.isfinite() for value in terms.values())
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("temperature", [1e-3, 1e3])
@pytest.mark.parametrize("name", [name for name in all_names() if has_temperature(name)])
def test_extreme_temperatures_stay_finite(run, name, temperature):
    terms, gradients = run(name, options={"temperature": temperature})
    assert all(value.isfinite() for value in terms.values())
    assert all(gradient.isfinite().all() for gradient in gradients)


@every_method
def test_indifferent_networks_stay_finite(run, name):
    terms, gradients = run(name, scale=0.0)
    assert all(value.isfinite() for value in terms.values())
    assert all(gradient.isfinite().all() for gradient in gradients)


@every_method
def test_double_precision_agrees(run, name):
    terms, gradients = run(name)
    precise_terms, precise_gradients = run(name, dtype=torch.float64)
    assert list(terms) == list(precise_terms)
    for value, precise in zip(
        [*terms.values(), *gradients], [*precise_terms.values(), *precise_gradients], strict=True
    ):
        assert precise.dtype == torch.float64
        torch.testing.assert_close(value.double(), precise, rtol=1e-4, atol=1e-4)


@every_method
def test_the_same_task_and_batch_give_the_same_numbers(run, name):
    torch.testing.assert_close(run(name), run(name), rtol=0, atol=0)


@every_method
def test_leaves_global_random_state_alone(run, name):
    before = torch.random.get_rng_state()
    run(name)
    assert torch.equal(torch.random.get_rng_state(), before)


@every_method
def test_states_its_source_and_shapes(name):
    method = find(name)
    assert source_of(method)
    assert "[B" in method.__doc__


@every_method
def test_every_option_has_help_a_default_and_a_plain_type(name):
    for option in options(find(name)):
        assert option.help.strip()
        assert option.kind in (bool, float, int, str)
        assert isinstance(option.default, option.kind)


@every_method
def test_declares_what_a_cache_can_give_and_a_run_can_do(name):
    method = find(name)
    assert method.needs <= {"logits", "features"}
    assert method.sampler in ("instance", "class-balanced")
    assert method.teacher in all_names()
    assert name_of(method) == name


@every_method
def test_reads_only_what_it_declares(make, name):
    method, student, batch = make(name)
    for outputs in batch.teachers:
        for undeclared in {"logits", "features"} - method.needs:
            del outputs[undeclared]
    assert all(value.isfinite() for value in method(student, batch).values())


@every_method
def test_never_waits_for_a_number_on_the_host(make, name):
    """A tensor on the meta device has no numbers: reading one, or mixing devices, raises."""
    method, student, batch = make(name)
    nowhere = dataclasses.replace(
        batch,
        labels=batch.labels.to("meta"),
        rows=batch.rows.to("meta"),
        teachers=tuple(on_meta(outputs) for outputs in batch.teachers),
        progress=batch.progress.to("meta"),
    )
    terms = method.to("meta")(on_meta(student), nowhere)
    assert all(value.is_meta for value in terms.values())


@pytest.fixture
def compare(make):
    """compare(name, change, other) -> numbers for a batch, changed in one way and in the other."""

    def numbers(name, change):
        method, student, batch = make(name)
        terms = method(student, change(batch))
        gradients = torch.autograd.grad(
            sum(terms.values()), list(student.values()), allow_unused=True
        )
        return [*terms.values(), *(gradient for gradient in gradients if gradient is not None)]

    return lambda name, change, other: (numbers(name, change), numbers(name, other))


@every_mixing_method
def test_shares_of_one_are_no_mixtures_bit_for_bit(make_task, mix, compare, name):
    task = make_task(COUNTS)
    mixed, plain = compare(name, lambda batch: mix(task, batch, 1.0), lambda batch: batch)
    torch.testing.assert_close(mixed, plain, rtol=0, atol=0)


@every_mixing_method
def test_an_image_mixed_with_itself_is_as_it_was(make_task, mix, compare, name):
    task = make_task(COUNTS)
    mixed, plain = compare(
        name, lambda batch: mix(task, batch, rows=batch.rows), lambda batch: batch
    )
    torch.testing.assert_close(mixed, plain)


@every_mixing_method
def test_shares_of_zero_are_the_partners_alone(make_task, mix, compare, name):
    task = make_task(COUNTS)

    def swapped(batch):
        partners = mix(task, batch).partners
        return dataclasses.replace(batch, rows=partners.rows, labels=partners.labels)

    mixed, partners = compare(name, lambda batch: mix(task, batch, 0.0), swapped)
    torch.testing.assert_close(mixed, partners, rtol=1e-4, atol=1e-5)


@every_mixing_method
def test_mixtures_depend_on_the_share_of_each_image(make_task, mix, compare, name):
    task = make_task(COUNTS)
    shares = torch.linspace(0, 1, 6)
    first, second = compare(
        name, lambda batch: mix(task, batch, shares), lambda batch: mix(task, batch, 0.5)
    )
    assert not torch.allclose(first[0], second[0])


@every_mixing_method
def test_mixtures_never_wait_for_a_number_on_the_host(make, make_task, mix, name):
    method, student, batch = make(name)
    partners = mix(make_task(COUNTS), batch).partners
    fields = {each: getattr(partners, each).to("meta") for each in ("labels", "rows", "shares")}
    nowhere = dataclasses.replace(
        batch,
        labels=batch.labels.to("meta"),
        rows=batch.rows.to("meta"),
        teachers=tuple(on_meta(outputs) for outputs in batch.teachers),
        progress=batch.progress.to("meta"),
        partners=dataclasses.replace(partners, **fields),
    )
    terms = method.to("meta")(on_meta(student), nowhere)
    assert all(value.is_meta for value in terms.values())


@every_mixing_method
def test_mixtures_of_huge_logits_stay_finite(make, make_task, mix, name):
    method, student, batch = make(name, scale=1e4)
    terms = method(student, mix(make_task(COUNTS), batch))
    gradients = torch.autograd.grad(sum(terms.values()), list(student.values()), allow_unused=True)
    assert all(value.isfinite() for value in terms.values())
    assert all(g.isfinite().all() for g in gradients if g is not None)


def test_what_crd_remembers_is_of_single_images():
    assert not find("crd").mixtures


@pytest.mark.parametrize("name", [name for name in all_names() if find(name).several_teachers])
def test_two_teachers_are_sound(run, name):
    assert_sound(*run(name, teachers=2))


@pytest.mark.parametrize(("name", "switch", "value"), list(flipped_switches()))
def test_every_switch_may_be_flipped(run, name, switch, value):
    assert_sound(*run(name, options={switch: value}))
    terms, gradients = run(name, TWO, 1, scale=1e4, options={switch: value})
    assert all(value.isfinite() for value in terms.values())
    assert all(gradient.isfinite().all() for gradient in gradients)


@every_method
def test_refuses_an_option_it_does_not_have(name):
    with pytest.raises(MethodError, match="no option 'colour'"):
        parse_options(find(name), ["colour=red"])
