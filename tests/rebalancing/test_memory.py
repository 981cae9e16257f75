"""Features of a re-training that would not fit into memory are refused before they are computed."""

from pathlib import Path

import pytest
import torch

from ltkd_cli import runs
from ltkd_cli.cli.app import run as ltkd
from ltkd_cli.commands import memory, rebalance
from ltkd_cli.commands.memory import available_memory, check_fits
from ltkd_cli.errors import LtkdError

INATURALIST = {"rows": 437_513, "views": 8, "others": 8142 * 8, "width": 2048}
GB = 10**9
MEMINFO = Path("/proc/meminfo")


def refusal(available, **changed):
    with pytest.raises(LtkdError) as caught:
        check_fits(**(INATURALIST | changed), available=available)
    return caught.value


def test_the_sizes_are_those_of_float32_features():
    needed = 4 * torch.empty(437_513 * 8 + 8142 * 8, 2048, device="meta").numel()
    check_fits(**INATURALIST, available=needed)
    error = refusal(needed - 1)
    assert "437,513 training images, views of each: 8, take 29.2 GB" in error.problem


@pytest.mark.parametrize("available", [5 * GB, 12 * GB, 29 * GB])
def test_the_views_of_the_hint_fit_and_one_more_would_not(available):
    said, _, views = refusal(available).hint.rpartition(" ")
    assert said == "the same command with --views"
    check_fits(**(INATURALIST | {"views": int(views)}), available=available)
    refusal(available, views=int(views) + 1)


def test_where_not_even_one_view_fits_the_hint_is_a_recipe_that_keeps_no_features():
    assert "--recipe imagenet-lt" in str(refusal(3 * GB).hint)


def test_nothing_is_refused_where_the_memory_is_not_known():
    check_fits(**INATURALIST, available=None)


@pytest.mark.skipif(not MEMINFO.exists(), reason="not Linux")
def test_the_available_memory_is_a_part_of_all():
    assert 0 < available_memory() < int(MEMINFO.read_text().split()[1]) * 1024


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Writes the files of a control group, on a machine that has 64 GB left."""
    (tmp_path / "meminfo").write_text("MemTotal: 64000000 kB\nMemAvailable: 62500000 kB\n")
    (tmp_path / "own").write_text("12:cpu:/other\n0::/job/step\n")
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CONTROL_GROUP", tmp_path / "own")
    monkeypatch.setattr(memory, "CONTROL_GROUPS", tmp_path / "groups")

    def write(name, limit, used, idle):
        group = tmp_path / "groups" / name
        group.mkdir(parents=True, exist_ok=True)
        (group / "memory.max").write_text(f"{limit}\n")
        (group / "memory.current").write_text(f"{used}\n")
        (group / "memory.stat").write_text(f"anon 1\ninactive_file {idle}\nactive_file 3\n")

    return write


def test_a_container_may_have_less_memory_than_the_machine(groups):
    assert available_memory() == 64 * GB
    groups("job/step", "max", 10 * GB, GB)
    assert available_memory() == 64 * GB
    groups("job", 16 * GB, 10 * GB, GB)  # the limit of a job holds for its steps
    assert available_memory() == 7 * GB
    groups("job/step", 4 * GB, 3 * GB, 0)
    assert available_memory() == GB
    groups("job/step", 4 * GB, 5 * GB, 0)
    assert available_memory() == 0
    groups("job/step", 100 * GB, 0, 0)
    assert available_memory() == 7 * GB


def test_the_limit_of_a_container_that_sees_itself_as_the_root(groups, tmp_path):
    (tmp_path / "own").write_text("0::/\n")
    groups(".", 8 * GB, GB, 0)
    assert available_memory() == 7 * GB
    (tmp_path / "groups" / "memory.stat").unlink()
    assert available_memory() == 64 * GB


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    small = ("--runs", str(folder), "--model", "resnet8", "--epochs", "1", "--evaluate-every", "0")
    assert ltkd(["teach", "--name", "taught", *small]) == 0
    return folder


@pytest.mark.parametrize("strategy", ["crt", "lws", "mislas"])
def test_a_re_training_is_refused_before_any_feature_is_computed(
    root, strategy, capsys, monkeypatch
):
    run = runs.find(root, "taught")
    entries = run.record["train_images"]
    monkeypatch.setattr(rebalance, "available_memory", lambda: 5 * entries * 64 * 4)
    monkeypatch.delattr(rebalance, "extract_features")
    asked = ["rebalance", "taught", "--runs", str(root), "--strategy", strategy]
    assert ltkd([*asked, "--validation", "1"]) == 1
    assert "the same command with --views 4" in capsys.readouterr().err
    assert len(runs.all_runs(root)) == 1


@pytest.mark.parametrize(
    "options", [("--strategy", "tau-norm"), ("--strategy", "crt", "--recipe", "imagenet-lt")]
)
def test_what_keeps_no_features_of_the_training_images_is_not(root, options, monkeypatch):
    monkeypatch.setattr(rebalance, "available_memory", lambda: 1)
    again = ("--epochs", "2") if "crt" in options else ()
    assert ltkd(["rebalance", "taught", "--runs", str(root), *options, *again]) == 0
