"""The embedded digits, loaded once for all tests of training."""

import pytest

from ltkd_cli.data import DataSpec, load


@pytest.fixture(scope="session")
def digits():
    return load(DataSpec())
