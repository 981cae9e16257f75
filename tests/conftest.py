"""Settings every test shares: one thread, so that results do not depend on the machine."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # two threads on a busy core take turns

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def own_cache_folder(tmp_path_factory, monkeypatch):
    """Keeps decoded images of tests out of the user's cache folder."""
    monkeypatch.setenv("LTKD_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
