"""Small run folders for tests, made by the code that makes all others."""

import json

from ltkd_cli import runs
from ltkd_cli.runs.record import sealed

ACCURACY = {"accuracy": 0.5, "low": 0.4, "high": 0.6, "images": 4, "classes": 2}
SCORES = {
    **dict.fromkeys(("all", "head", "medium", "tail", "balanced_accuracy"), ACCURACY),
    "macro_f1": 0.5,
    "nll": 1.0,
    "ece": 0.1,
}
DATA = {
    "name": "digits-lt",
    "train": "0" * 64,
    "test": "1" * 64,
    "class_names": ["0", "1"],
    "class_counts": [3, 1],
    "groups": {"rule": "rank", "of_class": ["head", "tail"]},
}
KNOWN = {"data": DATA, "parents": [], "seconds": 0.0, "threads": 1}
DONE = {"status": "done", "weights_sha256": "2" * 64, "scores": SCORES}


def create(root, label="ce-resnet8", kind="teach", name=None, **known):
    """A run that has begun; with `**DONE`, one that says that it is finished."""
    return runs.create(root, kind, label, {"method": "ce"}, name, **{**KNOWN, **known})


def rewrite(run, **fields):
    """Gives run.json other fields, unchecked, and a checksum to them; None takes a field away."""
    record = {**json.loads((run.path / "run.json").read_text()), **fields}
    reseal(run.path / "run.json", {k: v for k, v in record.items() if v is not None})


def edit(path, change):
    """Has `change` alter the record in a run.json, which gets the checksum to it."""
    record = json.loads(path.read_text())
    change(record)
    reseal(path, record)


def reseal(path, record):
    """Writes a run.json whose checksum is right, whatever its fields are."""
    path.write_text(json.dumps(sealed(record)))
