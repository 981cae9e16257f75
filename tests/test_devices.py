"""Which device and precision are chosen; a GPU is stood in for by what PyTorch says of it."""

from types import SimpleNamespace

import pytest
import torch

from ltkd_cli import devices
from ltkd_cli.cli.app import run
from ltkd_cli.commands import train
from ltkd_cli.errors import UsageError
from ltkd_cli.training import residency

GPU = torch.device("cuda", 0)
OLD = "CUDA error: no kernel image is available for execution on the device"


@pytest.fixture
def gpu(monkeypatch):
    """A machine with a GPU of the given capability, on which `failing` calls fail."""

    def stand_in(major=9, error=None):
        def ones(*shape, device):
            assert str(device).startswith("cuda")
            if error:
                raise error
            return torch.zeros(*shape) + 1

        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        properties = SimpleNamespace(major=major)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
        monkeypatch.setattr(devices.torch, "ones", ones)

    return stand_in


def test_auto_is_the_gpu_where_there_is_one(gpu):
    gpu()
    assert devices.choose_device("auto") == torch.device("cuda", 0)
    assert devices.choose_device("cuda") == torch.device("cuda", 0)


def test_a_gpu_that_others_fill_is_one_all_the_same(gpu):
    gpu(error=torch.OutOfMemoryError("CUDA out of memory"))
    assert devices.choose_device("auto").type == "cuda"


def test_auto_is_the_cpu_where_pytorch_cannot_compute_on_the_gpu(gpu):
    gpu(error=RuntimeError(f"{OLD}\nCompile with TORCH_USE_CUDA_DSA"))
    assert devices.choose_device("auto").type == "cpu"
    with pytest.raises(UsageError, match="no kernel image is available") as refused:
        devices.choose_device("cuda")
    assert str(refused.value.hint) == "--device cpu"


def test_a_gpu_that_is_not_there_is_refused(gpu):
    gpu()
    with pytest.raises(UsageError, match="sees 1 GPUs"):
        devices.choose_device("cuda:1")


@pytest.mark.parametrize(("major", "precision"), [(7, "float32"), (8, "bfloat16")])
def test_bfloat16_is_for_the_gpus_that_have_it(gpu, major, precision):
    gpu(major)
    assert devices.choose_precision("auto", GPU) == precision


def test_on_a_gpu_float32_is_float32(gpu, monkeypatch):
    gpu()
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    devices.open_device("cuda")
    assert not torch.backends.cudnn.allow_tf32


def test_a_process_counts_the_memory_of_its_part_of_the_gpu_alone(monkeypatch):
    shares = {"set": 1.0}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (70, 100))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 20)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 10)
    monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda device: shares["set"])
    monkeypatch.setattr(
        torch.cuda, "set_per_process_memory_fraction",
        lambda share, device: shares.update(set=share),
    )  # fmt: skip
    assert residency.free_bytes(GPU) == 70 + 20 - 10
    residency.share_gpu(GPU, 2)
    assert residency.free_bytes(GPU) == 47 - 10
    residency.share_gpu(torch.device("cpu"), 5)
    assert residency.free_bytes(GPU) == 47 - 10


def test_a_batch_that_fits_no_gpu_is_named_though_no_step_was_made(monkeypatch, tmp_path, capsys):
    def full(*arguments):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(train, "_loader", full)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 20 * 10**9)
    assert run(["teach", "--model", "resnet8", "--runs", str(tmp_path), "--batch-size", "64"]) == 1
    said = capsys.readouterr().err
    assert "20.0 GB for batches of 64 images" in said
    assert "--batch-size 32 --accumulate 2" in said


def test_a_gpu_without_room_for_an_evaluation_is_an_error_of_one_sentence(monkeypatch, capsys):
    def full(*arguments, **options):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr("ltkd_cli.cli.app.app", full)
    assert run(["eval", "1"]) == 1
    said = capsys.readouterr().err
    assert said.splitlines()[-1] == "try: ltkd eval 1 --device cpu"
