"""The suites hold for the smallest honest backend, so a failure elsewhere is the backend's."""

from __future__ import annotations

from pathlib import Path

from tests.suites.backend_suite import BackendSuite
from tests.suites.dict_backend import DictBackend
from tests.suites.storage_suite import StorageSuite
from zarrfs.storage.backend import Backend
from zarrfs.storage.faulty import FaultyBackend


class TestDictBackend(BackendSuite, StorageSuite):
    def make(self, folder: Path) -> Backend:
        return DictBackend()


class TestFaultlessBackend(BackendSuite):
    """A faulty backend without faults is like the one beneath it."""

    def make(self, folder: Path) -> Backend:
        return FaultyBackend(DictBackend())
