"""zarr-python's own suite for stores, run on a LocalStore that lies on a mount."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from zarr.core.buffer import Buffer, cpu
from zarr.storage import LocalStore
from zarr.testing.store import StoreTests

from tests.commands import mounted


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("suite-zip")
    with mounted(folder / "new.zip", folder / "mnt", "--create", "-o", "rw") as target:
        yield target


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("suite-directory")
    (folder / "source").mkdir()
    with mounted(folder / "source", folder / "mnt", "-o", "rw") as target:
        yield target


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with mounted("memory:", tmp_path_factory.mktemp("suite-memory") / "mnt", "-o", "rw") as target:
        yield target


class LocalStoreOnMount(StoreTests[LocalStore, cpu.Buffer]):  # type: ignore[misc] # zarr is Any
    store_cls = LocalStore
    buffer_cls = cpu.Buffer
    kind: str

    async def get(self, store: LocalStore, key: str) -> Buffer:
        return self.buffer_cls.from_bytes((store.root / key).read_bytes())

    async def set(self, store: LocalStore, key: str, value: Buffer) -> None:
        path = store.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(value.to_bytes())

    @pytest.fixture
    def store_kwargs(self, request: pytest.FixtureRequest) -> dict[str, Any]:
        """A folder of its own for each test: a mount point itself cannot be removed."""
        root: Path = request.getfixturevalue(self.kind) / uuid.uuid4().hex
        root.mkdir()
        return {"root": str(root)}

    def test_store_repr(self, store: LocalStore) -> None:
        assert str(store) == f"file://{store.root.as_posix()}"

    def test_store_supports_writes(self, store: LocalStore) -> None:
        assert store.supports_writes

    def test_store_supports_listing(self, store: LocalStore) -> None:
        assert store.supports_listing


@pytest.mark.xdist_group("suite-directory")
class TestOnDirectory(LocalStoreOnMount):
    kind = "directory"


@pytest.mark.xdist_group("suite-memory")
class TestOnMemory(LocalStoreOnMount):
    kind = "memory"


@pytest.mark.xdist_group("suite-archive")
class TestOnArchive(LocalStoreOnMount):
    kind = "archive"
