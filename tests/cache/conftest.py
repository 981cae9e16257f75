"""A finished cache to read, and where to write one."""

import pytest
from example_cache import export

from ltkd_cli.cache import Cache


@pytest.fixture
def path(tmp_path):
    """Where a cache is to be written."""
    return tmp_path / "cache.h5"


@pytest.fixture
def cache(path):
    """The example, complete and open."""
    return Cache.open(export(path))
