"""The scores of runs as `ltkd teach`, `ltkd runs` and `ltkd runs show` print them."""

import re

import pytest
from run_examples import DONE, create

from ltkd_cli.commands.lineage import Details
from ltkd_cli.console.run_details import print_details
from ltkd_cli.console.runs import print_run, print_runs


def scores(share):
    """Scores of which no two are alike; of all images, such a share is right."""

    def accuracy(share, images, classes):
        found = {"accuracy": share, "low": share - 0.1, "high": share + 0.15}
        return {**found, "images": images, "classes": classes}

    return {
        "all": accuracy(share, 1000, 10),
        "head": accuracy(share + 0.2, 400, 3),
        "medium": accuracy(share + 0.1, 350, 4),
        "tail": accuracy(share - 0.2, 250, 2),
        "balanced_accuracy": accuracy(share - 0.05, 999, 9),
        "macro_f1": share - 0.1,
        "nll": 1.25,
        "ece": 0.06,
    }


@pytest.fixture
def run(tmp_path):
    """A finished run of twelve minutes, which held images out."""
    reached = {"scores": scores(0.5), "validation_scores": scores(0.6), "seconds": 720.0}
    return create(tmp_path, name="mine", **{**DONE, **reached})


def test_what_a_run_reached_is_told_with_its_time(run, capsys):
    print_run(run)
    assert capsys.readouterr() == (
        f"{run.path}: test accuracy 50.0 % (head 70.0, medium 60.0, tail 30.0), 12 min\n",
        "  validation accuracy 60.0 % (head 80.0, medium 70.0, tail 40.0)\n",
    )


def test_the_list_of_runs_has_the_test_accuracies_and_the_time_of_each(run, capsys):
    begun = create(run.path.parent, name="begun")
    begun.update(settings={**begun.settings, "classes": "tail"})
    print_runs([run, begun], run.path.parent)
    lines = [re.split(" {2,}", line) for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["run", "images", "all", "head", "medium", "tail", "time"],
        ["mine", "digits-lt", "50.0", "70.0", "60.0", "30.0", "12 min"],
        ["begun", "digits-lt, tail classes only", "interrupted"],
    ]


def test_a_run_is_shown_with_the_intervals_of_all_its_scores(run, capsys):
    print_details(Details(run, (), {}, None))
    lines = [re.split(" {2,}", line) for line in capsys.readouterr().out.splitlines()]
    begin = lines.index(["Test accuracy", "%", "95 % interval", "images", "classes"])
    assert lines[begin + 1 : begin + 7] == [
        ["all", "50.0", "[40.0, 65.0]", "1,000", "10"],
        ["head", "70.0", "[60.0, 85.0]", "400", "3"],
        ["medium", "60.0", "[50.0, 75.0]", "350", "4"],
        ["tail", "30.0", "[20.0, 45.0]", "250", "2"],
        ["balanced", "45.0", "[35.0, 60.0]", "999", "9"],
        ["macro F1 0.400, negative log-likelihood 1.250, calibration error 0.060"],
    ]
    assert ["Validation accuracy", "%", "95 % interval", "images", "classes"] in lines
