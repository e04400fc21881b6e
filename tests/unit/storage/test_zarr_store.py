"""zarr's own stores as backends."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.suites.backend_suite import BackendSuite
from tests.suites.storage_suite import StorageSuite
from zarrfs.storage.backend import Backend
from zarrfs.storage.zarr_store import ZarrStoreBackend

zarr_storage = pytest.importorskip("zarr.storage")


class TestMemoryStore(BackendSuite, StorageSuite):
    rounds = 20

    def make(self, folder: Path) -> Backend:
        return ZarrStoreBackend(zarr_storage.MemoryStore())


class TestLocalStore(BackendSuite):
    rounds = 10
    name_max_bytes = 255 - len(".0123456789abcdef0123456789abcdef.partial")

    def make(self, folder: Path) -> Backend:
        return ZarrStoreBackend(zarr_storage.LocalStore(folder / "store"))

    def reopen(self, folder: Path, *, read_only: bool) -> Backend:
        return ZarrStoreBackend(zarr_storage.LocalStore(folder / "store", read_only=read_only))
