"""What Storage promises, on each of the built-in backends."""

from __future__ import annotations

from pathlib import Path

from tests.suites.storage_suite import StorageSuite
from zarrfs.storage import registry
from zarrfs.storage.backend import Backend


class TestMemory(StorageSuite):
    def make(self, folder: Path) -> Backend:
        return registry.get("memory").init(None)


class TestDirectory(StorageSuite):
    def make(self, folder: Path) -> Backend:
        return registry.get("directory").init(str(folder / "store"))
