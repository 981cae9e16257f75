"""The head and the features that the tests of strategies change."""

import pytest
from overlapping_classes import make_features, make_head


@pytest.fixture
def head():
    return make_head()


@pytest.fixture
def features(head):
    return make_features(head)
