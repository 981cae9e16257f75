"""Trains with the authors' own code on the images of a folder, on a processor.

    git clone https://github.com/kaidic/LDAM-DRW
    python -m benchmarks.cifar_files FOLDER FILES
    python -m benchmarks.official_code LDAM-DRW/cifar_train.py FILES OUT --row teacher-ce --seed 0

Needs matplotlib and scikit-learn, which that code imports. Options that this program does not
know go to the script. A run that was stopped goes on with the last epoch that OUT holds, and
begins where OUT is empty; as the script seeds itself at each start and keeps no state of its
random numbers, a run in several parts sees other orders than one in a piece.

The script runs as it is. What is put in its place lies around it:

- `.cuda()` and a device's number leave tensors and networks where they are, and the GPU's type of
  float tensors is the processor's.
- The files of FILES pass for those of CIFAR-10, whose MD5 sums they cannot have.
- What is written for TensorBoard is dropped.
- A checkpoint replaces the one before it only when it is whole.
- `--precision bfloat16` computes in the number format that ltkd trains in on such a processor,
  by torch.autocast around the network, and `--compile` compiles the network; the default is
  neither.
- Each start keeps its logs in a folder of its own, OUT/log-EPOCH.

When the last epoch has ended, results/official-code.json gets the accuracies of the last and of
the best epoch, for the row of the table of the published protocol that `--row` names.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import runpy
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.datasets import cifar

from benchmarks.timing import write

RESULTS = Path(__file__).parent / "results" / "official-code.json"

CHECKPOINT = "ckpt.pth.tar"
"""What the authors' code calls its newest checkpoint."""

ACCURACY = re.compile(r"^val Results: Prec@1 ([\d.]+)", re.MULTILINE)
"""Test accuracy in percent of one epoch, as the authors' code writes it to its log."""

CLASSES = re.compile(r"^val Class Accuracy: \[([^\]]+)\]", re.MULTILINE)
"""Test accuracy of each class as a share, likewise."""


def main() -> None:
    """Reads the command line, trains, and keeps what came out."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("script", type=Path, help="the authors' training script")
    parser.add_argument("files", type=Path, help="folder with cifar-10-batches-py")
    parser.add_argument("out", type=Path, help="folder of checkpoints and logs")
    parser.add_argument("--row", default="", help="row of the table; none is kept if empty")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments, passed_on = parser.parse_known_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    for name in ("script", "files", "out", "output"):
        setattr(arguments, name, getattr(arguments, name).resolve())
    run(arguments, passed_on)
    keep(arguments, passed_on)


def run(arguments: argparse.Namespace, passed_on: Sequence[str]) -> None:
    """One start of the authors' script, to the end of its last epoch."""
    script, out = arguments.script, arguments.out
    out.mkdir(parents=True, exist_ok=True)
    data = out / "data"
    if not data.exists():
        data.symlink_to(arguments.files, target_is_directory=True)
    begun = newest(out)
    epoch = torch.load(begun, map_location="cpu")["epoch"] if begun else 0
    given = ["--seed", str(arguments.seed), "--workers", "0", *passed_on]
    given += ["--root_model", str(out / "checkpoints"), "--root_log", str(out / f"log-{epoch:03d}")]
    given += ["--resume", str(begun)] if begun else []
    surround(arguments.precision, arguments.compile)
    sys.argv = [str(script), *given]
    sys.path.insert(0, str(script.parent))
    os.chdir(out)
    runpy.run_path(str(script), run_name="__main__")


def newest(out: Path) -> Path | None:
    """The checkpoint of the last epoch that has ended, or none."""
    return next(iter((out / "checkpoints").glob(f"**/{CHECKPOINT}")), None)


def surround(precision: str, compiled: bool) -> None:
    """Puts in place what the script needs of a machine without a GPU; see this module's text."""

    def stay(self: Any, *given: Any, **named: Any) -> Any:
        del given, named
        return self

    torch.Tensor.cuda = stay  # type: ignore[method-assign]
    nn.Module.cuda = stay  # type: ignore[method-assign]
    torch.cuda.set_device = lambda device: None  # type: ignore[assignment]
    torch.cuda.FloatTensor = torch.FloatTensor  # type: ignore[misc]

    def surrounded(network: nn.Module) -> nn.Module:
        return Surrounded(network, precision, compiled)

    torch.Tensor.to = _instead_of_a_gpu(torch.Tensor.to, stay)
    nn.Module.to = _instead_of_a_gpu(nn.Module.to, surrounded)  # type: ignore[method-assign]
    nn.DataParallel = surrounded  # type: ignore[misc,assignment]
    load, save = torch.load, torch.save
    torch.load = lambda path, **named: load(path, **named | {"map_location": "cpu"})

    def save_whole(state: Any, path: str) -> None:
        save(state, f"{path}.new")
        Path(f"{path}.new").replace(path)

    torch.save = save_whole  # type: ignore[assignment]
    cifar.check_integrity = lambda path, md5=None: True  # type: ignore[assignment]
    sys.modules["tensorboardX"] = _nothing_for_tensorboard()


def _instead_of_a_gpu(to: Any, instead: Any) -> Any:
    """The method `to`, but what `instead` gives where it is told the number of a GPU."""

    def moved(self: Any, *given: Any, **named: Any) -> Any:
        return instead(self) if given and type(given[0]) is int else to(self, *given, **named)

    return moved


def _nothing_for_tensorboard() -> types.ModuleType:
    class SummaryWriter:
        def __init__(self, **named: Any) -> None:
            del named

        def __getattr__(self, name: str) -> Any:
            return lambda *given, **named: None

    module = types.ModuleType("tensorboardX")
    module.SummaryWriter = SummaryWriter  # type: ignore[attr-defined]
    return module


class Surrounded(nn.Module):
    """The authors' network under the name that DataParallel gives it, in a number format."""

    def __init__(self, network: nn.Module, precision: str, compiled: bool) -> None:
        super().__init__()
        self.module = network
        self.in_bfloat16 = precision == "bfloat16"
        self.forward_of = [torch.compile(network) if compiled else network]
        """In a list, so that the compiled network adds no second set of weights to the state."""

    def forward(self, images: Tensor) -> Tensor:
        """Scores of every class, `[B, C]` in float32, of images `[B, 3, H, W]`."""
        if self.in_bfloat16:
            images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.in_bfloat16):
            scores: Tensor = self.forward_of[0](images)
        return scores.float()


def keep(arguments: argparse.Namespace, passed_on: Sequence[str]) -> None:
    """Adds what the logs hold to the results, under the row's name."""
    parts = sorted(arguments.out.glob("log-*"))
    found = accuracies(parts)
    classes = CLASSES.findall("".join(map(_log, parts)))
    result = {
        "code": arguments.script.parent.name,
        "script": arguments.script.name,
        "options": ["--seed", str(arguments.seed), *passed_on],
        "precision": arguments.precision,
        "compiled": arguments.compile,
        "torch": torch.__version__,
        "epochs": len(found),
        "starts": len(parts),
        "seconds": sum(map(seconds, parts)),
        "last": found[-1] / 100,
        "best": max(found) / 100,
        "best_epoch": found.index(max(found)) + 1,
        "per_class": [float(share) for share in classes[-1].split(",")],
        "every_epoch": [value / 100 for value in found],
    }
    print(json.dumps({name: result[name] for name in ("epochs", "last", "best", "best_epoch")}))
    if arguments.row:
        kept = json.loads(arguments.output.read_text()) if arguments.output.is_file() else {}
        write(arguments.output, kept | {arguments.row: result})


def accuracies(parts: Sequence[Path]) -> list[float]:
    """Test accuracy of every epoch in percent; each start's log up to where the next one began."""
    found: list[float] = []
    for part in parts:
        first = int(part.name.removeprefix("log-"))
        found[first:] = [float(value) for value in ACCURACY.findall(_log(part))]
    return found


def seconds(part: Path) -> float:
    """From a start to the last epoch that it ended: the script writes args.txt before the first."""
    began = next(part.glob("**/args.txt")).stat().st_mtime
    ended = [log.stat().st_mtime for log in part.glob("**/log_test.csv")]
    return max(ended, default=began) - began


def _log(part: Path) -> str:
    return "".join(log.read_text() for log in part.glob("**/log_test.csv"))


if __name__ == "__main__":
    main()
