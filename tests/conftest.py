"""Settings every test shares: one thread, so that results do not depend on the machine."""

import os

import pytest
import torch

os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def own_cache_folder(tmp_path_factory, monkeypatch):
    """Keeps decoded images of tests out of the user's cache folder."""
    monkeypatch.setenv("LTKD_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
