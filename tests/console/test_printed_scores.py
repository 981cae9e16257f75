"""Accuracies, intervals and measures as `ltkd eval` prints them, number by number."""

import io
import re

import pytest
from rich.console import Console

from ltkd_cli.commands.evaluate import Evaluation, Scored
from ltkd_cli.console import terminal
from ltkd_cli.console.scores import print_scores
from ltkd_cli.data.groups import Groups
from ltkd_cli.metrics import Accuracy, Scores
from ltkd_cli.splits import SPLITS

HEADINGS = ["run", "method", "model", *SPLITS, "balanced", "macro-F1", "NLL", "ECE"]


def scored(name, share, nll, seed=0):
    """A run of one setting that is right for such a share of all images; no two scores alike."""

    def accuracy(share, images, classes):
        return Accuracy(share, share - 0.1, share + 0.2, images, classes)

    splits = {
        "all": accuracy(share, 100, 10),
        "head": accuracy(share + 0.2, 40, 3),
        "medium": accuracy(share + 0.1, 35, 4),
        "tail": accuracy(share - 0.2, 25, 3),
    }
    balanced = accuracy(share - 0.05, 100, 10)
    scores = Scores(splits, balanced, macro_f1=share - 0.1, nll=nll, ece=nll / 10)
    groups = Groups("counts", ("head", "medium", "tail"))
    images = "test set of pets, 100 images"
    return Scored(
        *(name, "distill", "resnet8", "bkd", images, "f" * 64, groups),
        *(seed, "{}", str(seed), scores, 9.0),
    )


ONE = [scored("one", 0.5, 1.5)]
THREE = [scored("a", 0.4, 1.0, 0), scored("b", 0.5, 1.5, 1), scored("c", 0.66, 2.6, 2)]


def cells(text):
    """The cells of each line, of which two spaces or more lie between."""
    return [re.split(" {2,}", line) for line in text.splitlines()]


def test_one_run_has_the_intervals_of_its_images_and_its_own_measures(capsys):
    print_scores(Evaluation(ONE, []), SPLITS)
    headings, row, _, *footnotes = cells(capsys.readouterr().out)
    accuracies = ["50.0 [40.0, 70.0]", "70.0 [60.0, 90.0]", "60.0 [50.0, 80.0]",
                  "30.0 [20.0, 50.0]"]  # fmt: skip
    assert headings == HEADINGS
    assert row == ["one", "bkd", "resnet8", *accuracies, "45.0", "40.0", "1.500", "0.150"]
    assert footnotes == [
        ["Accuracy in percent after the last epoch, on the test set of pets, 100 images."],
        ["One run: 95 % interval over these images (Wilson)."],
        [
            "Groups: head > 100 training images, tail < 20. Images scored: head 40 "
            "(3 classes), medium 35 (4 classes), tail 25 (3 classes)."
        ],
    ]


def test_three_seeds_have_student_s_interval_and_the_mean_of_every_measure(capsys):
    print_scores(Evaluation(THREE, []), SPLITS)
    _, row, _, _, spread, _ = cells(capsys.readouterr().out)
    # 4.3027 times the standard deviation 0.13115, by the root of 3: 32.6 points to either side
    accuracies = ["52.0 [19.4, 84.6]", "72.0 [39.4, 100.0]", "62.0 [29.4, 94.6]",
                  "32.0 [0.0, 64.6]"]  # fmt: skip
    measures = ["47.0", "42.0", "1.700", "0.170"]
    assert row == ["3 runs: a, ...", "bkd", "resnet8", *accuracies, *measures]
    assert spread == ["Three runs or more: mean and 95 % interval over their seeds (Student's t)."]


def test_a_narrow_terminal_has_the_intervals_below_the_means(monkeypatch):
    shown = io.StringIO()
    screen = Console(file=shown, force_terminal=True, width=60, color_system=None)
    monkeypatch.setattr(terminal, "STDOUT", screen)
    print_scores(Evaluation(THREE, []), SPLITS)
    above, below = shown.getvalue().splitlines()[1:3]
    assert above.split()[-4:] == ["52.0", "72.0", "62.0", "32.0"]
    assert below.split() == ["19.4-84.6", "39.4-100.0", "29.4-94.6", "0.0-64.6"]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(8, "8 s"), (99, "99 s"), (720, "12 min"), (5999, "100 min"), (12_600, "3.5 h")],
)
def test_times_are_in_seconds_minutes_or_hours(seconds, shown):
    assert terminal.duration(seconds) == shown
