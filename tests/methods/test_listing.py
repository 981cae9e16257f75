"""The list of methods, which is read from their files, says what their classes say."""

import inspect
import sys

import pytest

from ltkd_cli import methods
from ltkd_cli.methods.finding import find
from ltkd_cli.methods.listing import all_names, listed


@pytest.mark.parametrize("method", listed(), ids=lambda method: method.name)
def test_titles_needs_and_mixtures_are_those_of_the_classes(method):
    found = find(method.name)
    assert method.needs == found.needs
    assert method.mixes == bool(found.mixtures)
    assert sys.modules[found.__module__].__doc__.startswith(f"{method.title}.")


def test_every_method_is_listed_once_in_alphabetical_order():
    assert [method.name for method in listed()] == all_names() == sorted(set(all_names()))


INHERITS = '''
"""Knowledge distillation under another name."""
from ltkd_cli.methods.kd import KnowledgeDistillation
class Mine(KnowledgeDistillation):
    pass
'''


def test_what_a_class_inherits_is_not_guessed(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(inspect.cleandoc(INHERITS))
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    (mine,) = [method for method in listed() if method.name == "mine"]
    assert (mine.title, mine.needs, mine.mixes) == (
        "Knowledge distillation under another name",
        None,
        None,
    )
