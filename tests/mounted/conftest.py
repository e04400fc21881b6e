"""Fixtures for mounts that all tests of a class share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.suites.posix_suite import PosixSuite


@pytest.fixture(scope="class")
def mount(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    suite = request.cls
    assert issubclass(suite, PosixSuite)
    with suite.serve(tmp_path_factory.mktemp(suite.__name__)) as path:
        yield path
