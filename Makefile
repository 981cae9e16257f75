# Every target installs what it needs into .venv first; `make` is what CI runs.
PYTHON ?= python3
LTKD := .venv/bin/ltkd
INSTALLED := .venv/.installed

.PHONY: all demo test lint bench faults docs clean

all: lint test

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --editable '.[dev]'
	touch $@

# The whole story on the embedded data set, in a folder of its own, in about two minutes.
demo: $(INSTALLED)
	PATH="$(CURDIR)/.venv/bin:$$PATH" bash examples/demo.sh

test: $(INSTALLED)
	.venv/bin/python -m pytest -q -n auto --dist loadfile

lint: $(INSTALLED)
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy

bench: $(INSTALLED)
	.venv/bin/python -m benchmarks.speed

# Kills, damage, hostile files and odd input: thousands of cases, in about a quarter of an hour.
faults: $(INSTALLED)
	OMP_NUM_THREADS=1 .venv/bin/python -m benchmarks.faults --keep

# What the documentation repeats of the code; a test fails when this was forgotten.
docs: $(INSTALLED)
	.venv/bin/python docs/generate.py

clean:
	rm -rf .venv
