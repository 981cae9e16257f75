"""The authors' own code is run as it is, also in parts, and what its logs hold is kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.cifar_files import convert

SCRIPT = """
import argparse, os
import torch
from tensorboardX import SummaryWriter
from torch import nn
from torchvision import datasets, transforms

parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int)
parser.add_argument("--workers", type=int)
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("--resume", default="")
parser.add_argument("--root_log")
parser.add_argument("--root_model")
parser.add_argument("--die", type=int, default=-1)
args = parser.parse_args()
torch.manual_seed(args.seed)
store = os.path.join(args.root_log, "ce")
for folder in (args.root_log, args.root_model, store, os.path.join(args.root_model, "ce")):
    os.path.exists(folder) or os.mkdir(folder)
test = datasets.CIFAR10("./data", train=False, download=True, transform=transforms.ToTensor())
images, labels = zip(*test)
model = torch.nn.DataParallel(nn.Sequential(nn.Flatten(), nn.Linear(3072, 2))).cuda()
start, best = 0, 0
assert torch.cuda.FloatTensor([1.0, 2.0]).device.type == "cpu"
if args.resume:
    checkpoint = torch.load(args.resume, map_location="cuda:0")
    start, best = checkpoint["epoch"], checkpoint["best"].to(0)
    model.load_state_dict(checkpoint["state_dict"])
open(os.path.join(store, "args.txt"), "w").write(str(args))
log = open(os.path.join(store, "log_test.csv"), "w")
writer = SummaryWriter(log_dir=store)
for epoch in range(start, args.epochs):
    assert model(torch.stack(images).cuda(None)).dtype == torch.float32
    accuracy = 10.0 + epoch * (3 - epoch)
    writer.add_scalar("accuracy", accuracy, epoch)
    log.write("val Results: Prec@1 %.3f Prec@5 0.000 Loss 1.0\\n" % accuracy)
    log.write("val Class Accuracy: [0.500,%.3f]\\n" % (epoch / 10))
    log.flush()
    if epoch == args.die:
        os._exit(9)
    torch.save(
        {"epoch": epoch + 1, "best": torch.tensor(accuracy), "state_dict": model.state_dict()},
        os.path.join(args.root_model, "ce", "ckpt.pth.tar"),
    )
"""
"""What the authors' scripts do around their training, on a network of one layer."""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for split in ("train", "test"):
        for name in ("bird", "cat"):
            for number in range(5):
                path = tmp_path / "folder" / split / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (32, 32), (number, 0, 255)).save(path)
    convert(tmp_path / "folder", tmp_path / "files" / "cifar-10-batches-py")
    return tmp_path / "files"


def train(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "authors").mkdir(exist_ok=True)
    (folder / "authors" / "train.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "benchmarks.official_code", "authors/train.py", "files", "out"]
    given = ["--row", "ce", "--output", "official.json", *options]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    return subprocess.run(
        [*command, *given], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_a_killed_training_goes_on_and_every_epoch_is_kept_once(files: Path) -> None:
    folder = files.parent
    killed = train(folder, "--precision", "bfloat16", "--die", "1")
    assert killed.returncode == 9, killed.stderr
    assert not (folder / "official.json").exists()

    finished = train(folder, "--precision", "bfloat16")
    assert finished.returncode == 0, finished.stderr
    row = json.loads((folder / "official.json").read_text())["ce"]
    assert row["every_epoch"] == [0.10, 0.12, 0.12]
    assert (row["last"], row["best"], row["best_epoch"]) == (0.12, 0.12, 2)
    assert (row["code"], row["script"], row["starts"]) == ("authors", "train.py", 2)
    assert (row["precision"], row["per_class"]) == ("bfloat16", [0.5, 0.2])
    assert row["seconds"] >= 0
