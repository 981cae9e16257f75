import pytest

from ltkd_cli.errors import UsageError
from ltkd_cli.training import tensorboard
from ltkd_cli.training.tensorboard import event_files, scalars

RECORD = {
    "epoch": 3,
    "terms": {"label": 0.5, "distillation": 0.25},
    "learning_rate": 0.1,
    "images_per_second": 1000.0,
    "waiting": 0.01,
    "test": {"all": 0.7, "tail": None},
}


@pytest.mark.parametrize("split", ["test", "validation"])
def test_accuracies_are_named_by_the_images_that_they_are_of(split):
    record = {name: value for name, value in RECORD.items() if name != "test"}
    found = scalars({**record, split: {"all": 0.7, "tail": None}})
    assert {name for name in found if name.endswith("/all")} == {f"{split}/all"}


def test_names_every_number_of_an_epoch_and_skips_an_empty_group():
    assert scalars(RECORD) == {
        "loss/label": 0.5,
        "loss/distillation": 0.25,
        "loss/sum": 0.75,
        "test/all": 0.7,
        "training/learning_rate": 0.1,
        "training/images_per_second": 1000.0,
        "training/waiting": 0.01,
    }


@pytest.mark.filterwarnings("default")  # TensorBoard's own imports warn
def test_writes_event_files_that_tensorboard_reads(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with event_files(tmp_path, first_epoch=0) as log:
        log(RECORD)
    events = accumulator.EventAccumulator(str(tmp_path)).Reload()
    (point,) = events.Scalars("loss/sum")
    assert (point.step, point.value) == (3, 0.75)


@pytest.mark.filterwarnings("default")
def test_an_epoch_that_a_resumed_training_logs_again_is_there_once(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with event_files(tmp_path, first_epoch=1) as log:
        for epoch in (1, 2, 3):
            log({**RECORD, "epoch": epoch})
    with event_files(tmp_path, first_epoch=3) as log:
        log({**RECORD, "learning_rate": 0.5})
    events = accumulator.EventAccumulator(str(tmp_path)).Reload()
    points = [(point.step, point.value) for point in events.Scalars("training/learning_rate")]
    assert points == [(1, pytest.approx(0.1)), (2, pytest.approx(0.1)), (3, 0.5)]


def test_says_what_to_install_where_tensorboard_is_missing(monkeypatch):
    monkeypatch.setattr(tensorboard, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="needs the package"):
        tensorboard.check_installed()
