"""`--compile` without a C++ compiler: the training goes on as without it, and warns."""

import json

import pytest
import torch

TINY = ("--model", "resnet8", "--epochs", 1, "--evaluate-every", 0, "--precision", "float32")


@pytest.fixture
def no_compiler(tmp_path_factory, monkeypatch):
    """A machine without a C++ compiler and without kernels that were compiled before."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("kernels")))
    with torch._inductor.config.patch({"cpp.cxx": (None, "/nonexistent/g++")}):
        yield


@pytest.mark.usefixtures("no_compiler")
def test_what_cannot_be_compiled_trains_as_it_is(ltkd, empty):
    said = ltkd("teach", *TINY, "--compile", "--name", "compiled")
    assert said.code == 0
    assert "resnet8" in said.err
    assert "InvalidCxxCompiler" in said.err
    assert ltkd("teach", *TINY, "--name", "plain").code == 0
    compiled, plain = (empty / "runs" / name for name in ("compiled", "plain"))
    for name in ("model.safetensors", "per_class.csv"):
        assert (compiled / name).read_bytes() == (plain / name).read_bytes()
    assert json.loads((compiled / "run.json").read_text())["settings"]["compile"] is True
