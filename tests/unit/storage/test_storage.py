"""`Storage.init` and `Storage.open`, and what does not depend on the backend."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.suites.dict_backend import DictBackend, Folder, Value
from tests.suites.documents import KEY_STYLES, V2_GROUP, V3_GROUP, v2_array, v3_array
from zarrfs.errors import (
    BusyError,
    CannotOpenMemoryError,
    CreateFailedError,
    InvalidArgumentError,
    InvalidMetadataError,
    PathNotFoundError,
    PathRequiredError,
    ReadOnlyError,
    UnknownBackendError,
    UnsupportedError,
)
from zarrfs.storage import registry
from zarrfs.storage.backend import Key
from zarrfs.storage.storage import Storage

PLAIN_STYLES = {name.replace("/", "slash"): style for name, style in KEY_STYLES.items()}
KINDS_ON_DISK = ["directory", "filesystem", "zip"]


def test_memory() -> None:
    with Storage.init("memory") as storage:
        storage.write_metadata(v3_array([4], [2]))
        storage.write_chunk((1,), b"data")
        assert storage.read_chunk((1,)) == b"data"
        assert "memory" in repr(storage)


@pytest.mark.parametrize("kind", KINDS_ON_DISK)
def test_stores_are_made_and_opened(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("store.zip" if kind == "zip" else "store.zarr")
    with Storage.init(kind, path=path) as storage:
        storage.write_metadata(V3_GROUP)
        storage.write_metadata(v3_array([4], [2]), path="a")
        storage.write_chunk((0,), b"first", path="a")
    for location, named in ((path, None), (str(path), kind)):
        with Storage.open(location, storage=named) as storage:
            assert storage.backend.kind == registry.canonical_name(kind)
            assert storage.location == str(path)
            assert storage.read_chunk((0,), path="a") == b"first"
            assert not storage.read_only
    with Storage.open(path, read_only=True) as storage:
        assert storage.read_only
        assert storage.list_chunks(path="a") == [(0,)]
        check_refuses_changes(storage)


def check_refuses_changes(storage: Storage) -> None:
    with pytest.raises(ReadOnlyError):
        storage.write_chunk((0,), b"", path="a")
    with pytest.raises(ReadOnlyError):
        storage.delete_chunk((0,), path="a")
    with pytest.raises(ReadOnlyError):
        storage.write_metadata(V3_GROUP)
    with pytest.raises(ReadOnlyError):
        storage.write_attributes({})
    with pytest.raises(ReadOnlyError):
        storage.delete_metadata()


def test_an_archive_is_opened_for_reading(tmp_path: Path) -> None:
    with Storage.init("directory", path=tmp_path / "store") as storage:
        for name, (document, keys) in PLAIN_STYLES.items():
            storage.write_metadata(document, path=name)
            for index, key in keys.items():
                storage.write_chunk(index, key.encode(), path=name)
    shutil.make_archive(str(tmp_path / "store"), "zip", tmp_path / "store")
    with Storage.open(tmp_path / "store.zip") as storage:
        assert storage.backend.kind == "zip"
        for name, (_, keys) in PLAIN_STYLES.items():
            assert sorted(storage.list_chunks(path=name)) == sorted(keys)
            for index, key in keys.items():
                assert storage.read_chunk(index, path=name) == key.encode()
        assert sorted(node.path for node in storage.walk()) == sorted(PLAIN_STYLES)


@pytest.mark.parametrize("kind", KINDS_ON_DISK)
def test_a_path_is_needed(kind: str) -> None:
    with pytest.raises(PathRequiredError):
        Storage.init(kind)


def test_a_folder_is_made_with_those_above(tmp_path: Path) -> None:
    Storage.init("directory", path=tmp_path / "a" / "b").close()
    assert (tmp_path / "a" / "b").is_dir()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for kind in KINDS_ON_DISK:
        with pytest.raises(CreateFailedError):
            Storage.init(kind, path=tmp_path / "file" / "store")


def test_unknown_kinds(tmp_path: Path) -> None:
    with pytest.raises(UnknownBackendError) as caught:
        Storage.init("cloud")
    assert caught.value.name == "cloud"
    assert "memory" in caught.value.known
    with pytest.raises(UnknownBackendError):
        Storage.open(tmp_path, storage="cloud")


@pytest.mark.parametrize("kind", [None, *KINDS_ON_DISK])
def test_opening_what_is_not_there(tmp_path: Path, kind: str | None) -> None:
    for read_only in (None, True, False):
        with pytest.raises(PathNotFoundError) as caught:
            Storage.open(tmp_path / "absent.zip", storage=kind, read_only=read_only)
        assert str(tmp_path / "absent.zip") in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_memory_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(CannotOpenMemoryError):
        Storage.open(tmp_path, storage="memory")


def test_opening_what_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_bytes(b"neither a folder nor an archive")
    with pytest.raises(UnsupportedError, match=r"notes\.txt"):
        Storage.open(tmp_path / "notes.txt")


def test_one_writer_of_an_archive_and_readers_beside_it(tmp_path: Path) -> None:
    Storage.init("zip", path=tmp_path / "a.zip").close()
    with Storage.open(tmp_path / "a.zip") as writer, Storage.open(tmp_path / "a.zip") as reader:
        assert not writer.read_only
        assert reader.read_only
        with pytest.raises(BusyError):
            Storage.open(tmp_path / "a.zip", read_only=False)


class ReadableOnly(DictBackend):
    """Refuses to be opened for writing, as a file without permission does."""

    @classmethod
    def open(cls, path: str, *, read_only: bool) -> ReadableOnly:
        if not read_only:
            raise ReadOnlyError(path)
        return cls(path)


@pytest.fixture
def readable_only() -> Iterator[None]:
    registry.register("readable", ReadableOnly)
    yield
    registry.unregister("readable")


@pytest.mark.usefixtures("readable_only")
def test_writing_is_optional_unless_asked_for() -> None:
    Storage.open("x", storage="readable").close()
    Storage.open("x", storage="readable", read_only=True).close()
    with pytest.raises(ReadOnlyError):
        Storage.open("x", storage="readable", read_only=False)


def test_a_million_chunks_are_listed() -> None:
    value: Value = (b"", 0)
    rows: Folder = {str(i): dict.fromkeys(map(str, range(1000)), value) for i in range(1001)}
    storage = Storage(DictBackend(content={"a": {"c": rows}}))
    storage.write_metadata(v3_array([1000, 1000], [1, 1], "uint8"), path="a")
    seen = bytearray(1_000_000)
    for i, j in storage.list_chunks(path="a"):
        seen[1000 * i + j] += 1
    assert seen.count(1) == 1_000_000


def test_a_million_chunks_in_one_folder() -> None:
    value: Value = (b"", 0)
    storage = Storage(DictBackend(content=dict.fromkeys(map(str, range(1_000_001)), value)))
    storage.write_metadata(v2_array([1_000_000], [1], "|u1"))
    seen = bytearray(1_000_000)
    for (n,) in storage.iter_chunks():
        seen[n] += 1
    assert seen.count(1) == 1_000_000


def test_indices_may_be_any_integers() -> None:
    storage = Storage(DictBackend())
    storage.write_metadata(v2_array([4, 4], [2, 2]))
    storage.write_chunk([np.int64(1), 0], b"x")  # type: ignore[list-item]  # works all the same
    assert storage.read_chunk(np.array([1, 0])) == b"x"  # type: ignore[arg-type]  # works all the same
    assert storage.list_chunks() == [(1, 0)]
    assert storage.chunk_key((1, 0)) == "1.0"
    for index in ((0.5, 0), ("0", "0"), 3):
        with pytest.raises(InvalidArgumentError):
            storage.read_chunk(index)  # type: ignore[arg-type]  # on purpose


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype="<i4").reshape(2, 3),
        np.arange(6, dtype=">i4").reshape(2, 3),
        np.arange(6, dtype="<i4").reshape(2, 3)[:, ::2],
        np.zeros((0, 3), "<f8"),
        np.array(3.5),
    ],
)
def test_chunk_data_may_be_any_buffer(
    array: np.ndarray[tuple[int, ...], np.dtype[np.int32]],
) -> None:
    storage = Storage(DictBackend())
    storage.write_metadata(v2_array([4], [2]))
    storage.write_chunk((0,), array.data)
    assert storage.read_chunk((0,)) == array.tobytes()


def test_chunk_data_that_is_no_buffer() -> None:
    storage = Storage(DictBackend())
    storage.write_metadata(v2_array([4], [2]))
    with pytest.raises(InvalidArgumentError):
        storage.write_chunk((0,), "text")  # type: ignore[arg-type]  # on purpose
    assert storage.list_chunks() == []


def test_format_3_goes_before_format_2() -> None:
    storage = Storage(DictBackend())
    storage.write_metadata(v2_array([4], [2]))
    storage.backend.set(Key("zarr.json"), b'{"zarr_format": 3, "node_type": "group"}')
    assert storage.node().zarr_format == 3
    storage.backend.delete(Key("zarr.json"))
    assert storage.node().zarr_format == 2


def test_damaged_attributes_are_a_problem_but_no_obstacle() -> None:
    storage = Storage(DictBackend())
    storage.write_metadata(V2_GROUP)
    storage.backend.set(Key(".zattrs"), b"{")
    inspected = storage.inspect_metadata()
    assert [problem.partition(":")[0] for problem in inspected.problems] == [".zattrs"]
    with pytest.raises(InvalidMetadataError):
        storage.read_attributes()


def test_chunks_are_served_whatever_else_a_document_says() -> None:
    storage = Storage(DictBackend())
    document = {**v2_array([4], [2]), "order": "neither", "compressor": 3}
    storage.backend.set(
        Key(".zarray"), str(document).replace("'", '"').replace("None", "null").encode()
    )
    storage.write_chunk((1,), b"x")
    assert storage.list_chunks() == [(1,)]
    with pytest.raises(InvalidMetadataError):
        storage.read_metadata()


@pytest.mark.parametrize(
    ("key", "role", "path", "chunk"),
    [
        ("", "group", "", None),
        ("a", "array", "a", None),
        ("a/zarr.json", "metadata", "a", None),
        ("zarr.json", "metadata", "", None),
        ("a/c", "folder", "a", None),
        ("a/c/1", "folder", "a", None),
        ("a/c/1/0", "chunk", "a", (1, 0)),
        ("a/c/9/0", "other", "a", None),
        ("a/notes", "other", "a", None),
        ("a/c/1/0.__lock", "temporary", None, None),
        ("plain", "folder", "", None),
        ("plain/notes", "other", "", None),
    ],
)
def test_what_a_key_is(
    key: str, role: str, path: str | None, chunk: tuple[int, ...] | None
) -> None:
    storage = Storage(DictBackend())
    storage.write_metadata(V3_GROUP)
    storage.write_metadata(v3_array([4, 4], [2, 2]), path="a")
    for value in ("a/c/1/0", "a/c/9/0", "a/notes", "a/c/1/0.__lock", "plain/notes"):
        storage.backend.set(Key(value), b"")
    located = storage.hierarchy.locate(key)
    assert (located.role, located.node and located.node.path, located.chunk) == (role, path, chunk)
