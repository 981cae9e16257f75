import inspect
import sys
from typing import Annotated, Literal

import pytest
import torch

import ltkd_cli.methods
from ltkd_cli.data.groups import group_classes
from ltkd_cli.errors import MethodError
from ltkd_cli.methods.balanced_softmax import BalancedSoftmax
from ltkd_cli.methods.contract import Batch, Method, Task
from ltkd_cli.methods.finding import all_names, find, name_of, source_of
from ltkd_cli.methods.options import options, parse_options


class Sample(Method):
    """A method with an option of every type.

    Source: Nobody, "A paper over
    two lines", 2026.

    Another paragraph.
    """

    def __init__(
        self,
        task,
        *,
        weight: Annotated[float, "how much"] = 0.5,
        power_steps: Annotated[int, "how often"] = 3,
        smooth: Annotated[bool, "whether"] = False,
        kind: Annotated[str, "which"] = "plain",
        side: Annotated[Literal["left", "right"], "left or right"] = "left",
    ):
        super().__init__(task)


class Bare(Method):
    pass


def parse(*settings):
    return parse_options(Sample, list(settings))


def test_options_are_read_from_the_constructor_in_order():
    found = [(option.name, option.kind, option.default, option.help) for option in options(Sample)]
    assert found == [
        ("weight", float, 0.5, "how much"),
        ("power_steps", int, 3, "how often"),
        ("smooth", bool, False, "whether"),
        ("kind", str, "plain", "which"),
        ("side", str, "left", "left or right"),
    ]


def test_a_method_without_a_constructor_has_no_options():
    assert options(Bare) == []


def test_every_option_has_its_default_when_nothing_is_set():
    assert parse() == {
        "weight": 0.5, "power_steps": 3, "smooth": False, "kind": "plain", "side": "left",
    }  # fmt: skip


def test_an_option_with_a_literal_type_knows_its_choices():
    choices = {option.name: option.choices for option in options(Sample)}
    assert choices["side"] == ("left", "right")
    assert choices["kind"] == ()


@pytest.mark.parametrize(
    ("setting", "name", "value"),
    [
        ("weight=2", "weight", 2.0),
        ("weight=1e-3", "weight", 0.001),
        ("power_steps=7", "power_steps", 7),
        ("power-steps=7", "power_steps", 7),
        (" weight = 2 ", "weight", 2.0),
        ("kind=a=b", "kind", "a=b"),
        ("side=right", "side", "right"),
        ("kind = plainer ", "kind", "plainer"),
    ],
)
def test_values_take_the_type_of_their_option(setting, name, value):
    found = parse(setting)[name]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", ["true", "True", "yes", "on", "1"])
def test_words_for_true(text):
    assert parse(f"smooth={text}")["smooth"] is True


@pytest.mark.parametrize("text", ["false", "FALSE", "no", "off", "0"])
def test_words_for_false(text):
    assert parse("smooth=true", f"smooth={text}")["smooth"] is False


def test_the_last_setting_of_an_option_counts():
    assert parse("weight=1", "weight=2")["weight"] == 2


@pytest.mark.parametrize(
    ("setting", "wanted"),
    [
        ("weight=heavy", "a number"),
        ("weight=nan", "a number"),
        ("weight=inf", "a number"),
        ("weight=", "a number"),
        ("power_steps=1.5", "a whole number"),
        ("smooth=maybe", "true or false"),
        ("side=up", "left or right"),
        ("side=", "left or right"),
    ],
)
def test_a_value_of_another_type_is_refused_with_a_setting_that_works(setting, wanted):
    with pytest.raises(MethodError, match=wanted) as caught:
        parse(setting)
    assert parse(caught.value.hint.removeprefix("--set ")) == parse()


def test_an_unknown_option_is_refused_with_those_there_are():
    with pytest.raises(MethodError, match="weight, power_steps, smooth, kind, side"):
        parse("wieght=1")


def test_an_option_of_a_method_without_options_is_refused():
    with pytest.raises(MethodError, match="its options: none"):
        parse_options(Bare, ["weight=1"])


def test_a_setting_without_an_equals_sign_is_refused():
    with pytest.raises(MethodError, match="NAME=VALUE"):
        parse("weight")


def test_source_is_the_paragraph_of_the_docstring_on_one_line():
    assert source_of(Sample) == 'Nobody, "A paper over two lines", 2026.'


def test_source_is_empty_where_none_is_given():
    assert source_of(Bare) == ""


def test_names_are_the_files_with_hyphens_in_order():
    names = all_names()
    assert {"ce", "balanced-softmax", "kd", "bkd", "dive"} <= set(names)
    assert names == sorted(names)


def test_a_name_leads_to_its_class_and_back():
    assert find("balanced-softmax") is BalancedSoftmax
    assert name_of(BalancedSoftmax) == "balanced-softmax"


@pytest.mark.parametrize("name", ["balanced_softmax", "BKD", "", "os"])
def test_an_unknown_method_is_refused_with_those_there_are(name):
    with pytest.raises(MethodError, match="balanced-softmax"):
        find(name)


@pytest.fixture
def add_method(tmp_path, monkeypatch):
    """add_method(file name, text): puts another file among the methods."""
    monkeypatch.setattr(ltkd_cli.methods, "__path__", [*ltkd_cli.methods.__path__, str(tmp_path)])
    added = []

    def add(name, text):
        (tmp_path / f"{name}.py").write_text(text)
        added.append(name)

    yield add
    for name in added:
        sys.modules.pop(f"ltkd_cli.methods.{name}", None)
        vars(ltkd_cli.methods).pop(name, None)


ONE_METHOD = "from ltkd_cli.methods.contract import Method\nclass One(Method): pass\n"


def test_a_new_file_is_a_new_method(add_method):
    add_method("brand_new", ONE_METHOD)
    assert "brand-new" in all_names()
    assert find("brand-new").__name__ == "One"


@pytest.mark.parametrize(
    ("text", "number"), [("", 0), (ONE_METHOD + "class Two(Method): pass\n", 2)]
)
def test_a_file_must_hold_exactly_one_method(add_method, text, number):
    add_method(f"holds_{number}", text)
    with pytest.raises(MethodError, match=f"exactly one Method class, not {number}") as caught:
        find(f"holds-{number}")
    assert caught.value.hint.endswith(f"holds_{number}.py")


def batch_of(*teacher_logits):
    labels = torch.zeros(2, dtype=torch.int64)
    teachers = tuple({"logits": logits} for logits in teacher_logits)
    return Batch(labels, rows=labels, teachers=teachers, progress=torch.tensor(0.0))


def test_the_logits_of_one_teacher_are_given_as_they_are():
    logits = torch.ones(2, 3)
    assert batch_of(logits).teacher_logits is logits


def test_the_logits_of_several_teachers_are_averaged():
    logits = batch_of(torch.zeros(2, 3), torch.full((2, 3), 4.0)).teacher_logits
    assert torch.equal(logits, torch.full((2, 3), 2.0))


@pytest.fixture
def task():
    return Task(
        class_counts=torch.tensor([9, 5, 2]),
        labels=torch.arange(3).repeat_interleave(torch.tensor([9, 5, 2])),
        groups=group_classes([9, 5, 2]),
        student_width=8,
    )


def test_a_task_counts_its_classes(task):
    assert task.classes == 3


def test_a_method_needs_no_teacher_and_no_projection_unless_it_says_so():
    assert Method.needs == frozenset()
    assert Method.sampler == "instance"
    assert Method.head == "linear"
    assert Method.projection(64, (2048,)) == 0


def test_a_method_without_a_loss_says_so(task):
    with pytest.raises(NotImplementedError, match="Bare defines no loss"):
        Bare(task)({}, batch_of())


def test_every_option_can_only_be_given_by_name():
    for name in all_names():
        parameters = list(inspect.signature(find(name).__init__).parameters.values())
        assert {p.kind for p in parameters[2:]} <= {inspect.Parameter.KEYWORD_ONLY}
