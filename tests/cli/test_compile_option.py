"""`--compile`, where it cannot work: the training goes on as without it, and says so."""

import json

import torch

TINY = ("--model", "resnet8", "--epochs", 1, "--evaluate-every", 0, "--precision", "float32")


def test_what_cannot_be_compiled_trains_as_it_is(ltkd, empty, monkeypatch):
    def no_compiler(*_, **__):
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr(torch, "compile", no_compiler)
    said = ltkd("teach", *TINY, "--compile", "--name", "compiled")
    assert said.code == 0
    assert "resnet8 cannot be compiled here" in said.err
    assert "no C++ compiler" in said.err
    assert ltkd("teach", *TINY, "--name", "plain").code == 0
    compiled, plain = (empty / "runs" / name for name in ("compiled", "plain"))
    for name in ("model.safetensors", "per_class.csv"):
        assert (compiled / name).read_bytes() == (plain / name).read_bytes()
    assert json.loads((compiled / "run.json").read_text())["settings"]["compile"] is True
