"""What Storage promises, on each of the built-in backends; all of a backend's promises on zip."""

from __future__ import annotations

from pathlib import Path

from tests.suites.backend_suite import BackendSuite
from tests.suites.storage_suite import StorageSuite
from zarrfs.storage import registry
from zarrfs.storage.backend import Backend


class TestMemory(StorageSuite):
    def make(self, folder: Path) -> Backend:
        return registry.get("memory").init(None)


class TestDirectory(StorageSuite):
    def make(self, folder: Path) -> Backend:
        return registry.get("directory").init(str(folder / "store"))


class TestZip(BackendSuite, StorageSuite):
    rounds = 20

    def make(self, folder: Path) -> Backend:
        return registry.get("zip").init(str(folder / "store.zip"))

    def reopen(self, folder: Path, *, read_only: bool) -> Backend:
        return registry.get("zip").open(str(folder / "store.zip"), read_only=read_only)
