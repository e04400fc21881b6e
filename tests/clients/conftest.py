"""Fixtures of the client tests: the stores, and the time that making them may take."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.clients.corpus import Corpus, shared_corpus

TEST_LIMIT_S = 400
"""A client's own limit is 200 s (`catalogue`); the first test also waits for the stores."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(TEST_LIMIT_S))


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    return shared_corpus(base)
