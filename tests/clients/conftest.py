"""Fixtures of the client tests: the stores, and mounts that many tests share."""

from __future__ import annotations

import os

import pytest

from tests.clients.corpus import Corpus, shared_corpus


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    return shared_corpus(base)
