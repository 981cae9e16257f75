"""Several students learn from one cache at the same time."""

import json
import subprocess
import sys

TINY = ("--model", "resnet8", "--epochs", "2", "--evaluate-every", "0", "--precision", "float32")


def test_two_students_at_once_end_as_one_after_the_other(ltkd, story):
    together = [
        subprocess.Popen(
            [sys.executable, "-m", "ltkd_cli", "distill", *TINY, "--seed", seed],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for seed in ("7", "8")
    ]
    outputs = [process.communicate()[0] for process in together]
    assert [process.returncode for process in together] == [0, 0]
    folders = [story / output.split(":")[0] for output in outputs]
    assert {folder.name[:4] for folder in folders} == {"0004", "0005"}
    for seed, folder in zip((7, 8), folders, strict=True):
        assert json.loads((folder / "run.json").read_text())["settings"]["seed"] == seed
        assert ltkd("distill", *TINY, "--seed", seed, "--name", f"alone-{seed}").code == 0
        alone = story / f"runs/alone-{seed}"
        for name in ("model.safetensors", "per_class.csv"):
            assert (folder / name).read_bytes() == (alone / name).read_bytes()
