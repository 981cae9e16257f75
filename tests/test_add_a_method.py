"""examples/add_a_method does what it says: one file and one test, and the method is there."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from ltkd_cli.cli.app import run

ROOT = Path(__file__).parents[1]
EXAMPLE = Path("examples", "add_a_method")
QUICK = ["--model", "resnet8", "--epochs", "1", "--evaluate-every", "0"]


def blocks(language):
    page = MarkdownIt().parse((ROOT / EXAMPLE / "README.md").read_text())
    return [token.content for token in page if token.info == language]


@pytest.fixture
def checkout(tmp_path):
    """A copy of what the example touches and needs."""
    for part in ("ltkd_cli", "tests/methods", EXAMPLE):
        shutil.copytree(ROOT / part, tmp_path / part)
    for part in ("pyproject.toml", "tests/conftest.py", "tests/test_imports.py"):
        shutil.copy(ROOT / part, tmp_path / part)
    return tmp_path


@pytest.fixture
def folder_with_cache(tmp_path, monkeypatch):
    """An empty folder but for a barely trained teacher and its cache."""
    monkeypatch.chdir(tmp_path)
    assert run(["teach", *QUICK]) == 0
    assert run(["export-logits", "--views", "1"]) == 0
    return tmp_path


def test_one_file_and_one_test_in_a_checkout(checkout):
    steps = blocks("sh")[0].replace(".venv/bin/python", sys.executable)
    done = subprocess.run(
        ["bash", "-ec", steps], cwd=checkout, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for file in ("test_similarity.py", "test_all_methods.py", "test_imports.py"):
        assert file in done.stdout  # pytest names the files that it runs tests of


def test_a_program_of_ones_own_adds_a_folder_of_methods(folder_with_cache):
    program = next(block for block in blocks("python") if "__path__" in block)
    (folder_with_cache / "my_ltkd.py").write_text(program)
    (folder_with_cache / "my_methods").mkdir()
    shutil.copy(ROOT / EXAMPLE / "similarity.py", folder_with_cache / "my_methods")
    command = [sys.executable, *blocks("sh")[-1].split()[1:], *QUICK, "--name", "student"]
    done = subprocess.run(
        command, cwd=folder_with_cache, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (folder_with_cache / "runs" / "student" / "model.safetensors").exists()
    assert '"similarity"' in (folder_with_cache / "runs" / "student" / "metrics.jsonl").read_text()
