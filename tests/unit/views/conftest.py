"""Stores that the tests of views share; they only read them."""

from __future__ import annotations

import pytest

from tests.suites.dict_backend import DictBackend
from tests.unit.views.stores import Arrays, write_v2, write_v3

Store = tuple[DictBackend, Arrays]


@pytest.fixture(scope="session")
def v2_store() -> Store:
    return write_v2()


@pytest.fixture(scope="session")
def v3_store() -> Store:
    return write_v3()


@pytest.fixture(params=["v2", "v3"])
def store(request: pytest.FixtureRequest, v2_store: Store, v3_store: Store) -> Store:
    """Either store."""
    return v2_store if request.param == "v2" else v3_store
