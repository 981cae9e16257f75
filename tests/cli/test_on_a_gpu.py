"""The whole story on a GPU, where there is one."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks.faults.calling import call
from ltkd_cli import runs

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

TINY = ("--model", "resnet8", "--epochs", 2, "--device", "cuda")


def test_teaches_exports_distils_rebalances_and_scores(empty):
    assert call("teach", *TINY).code == 0
    assert call("export-logits", "--views", 4, "--device", "cuda").code == 0
    assert call("distill", *TINY, "--method", "bkd", "--compile").code == 0
    assert call("distill", *TINY, "--method", "kd", "--resident", "never").code == 0
    assert call("distill", *TINY, "--seeds", "0,1", "--jobs", 2).code == 0
    assert call("rebalance", "1", "--strategy", "crt", "--epochs", 2, "--device", "cuda").code == 0
    made = [runs.find(Path("runs"), str(number)) for number in range(1, 7)]
    assert all(run.done and run.record["environment"]["device"].startswith("cuda") for run in made)
    here, there = (
        json.loads(call("eval", "2", "--json", "--device", device).out)["results"][0]["all"]
        for device in ("cpu", "cuda")
    )
    assert abs(here["accuracy"] - there["accuracy"]) < 0.01
