"""What `zarrfs.Storage` promises, over any backend.

A backend's test subclasses `StorageSuite` beside `BackendSuite` and gives both
the same `make`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.suites.documents import (
    DTYPE_DOCUMENTS,
    KEY_STYLES,
    V2_GROUP,
    V3_GROUP,
    v2_array,
    v3_array,
)
from zarrfs.errors import (
    ChunkNotFoundError,
    ExistsError,
    InvalidChunkIndexError,
    InvalidMetadataError,
    MetadataNotFoundError,
    StaleError,
    WrongKindError,
)
from zarrfs.storage.backend import Backend, Key
from zarrfs.storage.hierarchy import Node
from zarrfs.storage.storage import Storage
from zarrfs.zarr_format.documents import Json, decode_document

PATHS = ["", "temperature", "group/sub group/温度"]


def stored_document(storage: Storage, key: str) -> dict[str, object]:
    return dict(decode_document(storage.backend.get(Key(key)), key))


def at(path: str, key: str) -> str:
    return f"{path}/{key}" if path else key


class StorageSuite(ABC):
    """Arrays, groups and attributes of both formats, at any path."""

    @abstractmethod
    def make(self, folder: Path) -> Backend:
        """Return a new, empty, writable backend."""

    @pytest.fixture
    def storage(self, tmp_path: Path) -> Iterator[Storage]:
        with Storage(self.make(tmp_path)) as storage:
            yield storage

    @pytest.mark.parametrize("path", PATHS)
    @pytest.mark.parametrize("style", KEY_STYLES)
    def test_chunks_live_under_their_keys(self, storage: Storage, style: str, path: str) -> None:
        document, keys = KEY_STYLES[style]
        storage.write_metadata(document, path=path)
        assert storage.list_chunks(path=path) == []
        for index, key in keys.items():
            storage.write_chunk(index, key.encode(), path=path)
            assert bytes(storage.backend.get(Key(at(path, key)))) == key.encode()
            assert storage.read_chunk(index, path=path) == key.encode()
        assert sorted(storage.list_chunks(path=path)) == sorted(keys)
        for index in keys:
            assert storage.delete_chunk(index, path=path)
            assert not storage.delete_chunk(index, path=path)
            with pytest.raises(ChunkNotFoundError) as caught:
                storage.read_chunk(index, path=path)
            assert caught.value.index == index
        assert storage.list_chunks(path=path) == []

    @pytest.mark.parametrize("style", KEY_STYLES)
    def test_only_chunks_of_the_grid_are_listed(self, storage: Storage, style: str) -> None:
        document, keys = KEY_STYLES[style]
        storage.write_metadata(document, path="a")
        for index in keys:
            storage.write_chunk(index, b"", path="a")
        last = max(keys.values(), key=len)
        hexadecimal = "0123456789abcdef" * 2
        for stray in (
            f"{last}.{hexadecimal}.partial",
            f"{last}.__lock",
            f"{last}.lock",
            f"{last}x",
            f"0{last}",
            f"-{last}",
            "notes.txt",
            "c0",
            ".gmac",
        ):
            storage.backend.set(Key(f"a/{stray}"), b"stray")
        storage.write_metadata(document, path="ab")
        for index in keys:
            storage.write_chunk(index, b"", path="ab")
        assert sorted(storage.list_chunks(path="a")) == sorted(keys)

    def test_an_array_among_the_chunks_of_another(self, storage: Storage) -> None:
        array = v2_array([4, 4], [1, 1], dimension_separator="/")
        storage.write_metadata(array, path="a")
        storage.write_metadata(array, path="a/1")
        storage.write_chunk((0, 0), b"", path="a")
        storage.write_chunk((2, 3), b"", path="a/1")
        storage.backend.set(Key("a/1/3"), b"looks like chunk (1, 3) of a")
        assert storage.list_chunks(path="a") == [(0, 0)]
        assert storage.list_chunks(path="a/1") == [(2, 3)]

    def test_indices_are_checked(self, storage: Storage) -> None:
        storage.write_metadata(v3_array([40, 30], [10, 10]), path="a")
        for index in [(), (0,), (0, 0, 0), (4, 0), (0, 3), (-1, 0)]:
            with pytest.raises(InvalidChunkIndexError) as caught:
                storage.write_chunk(index, b"", path="a")
            assert caught.value.index == index
            assert caught.value.subject == "a"
            with pytest.raises(InvalidChunkIndexError):
                storage.read_chunk(index, path="a")
        for index in [(), (0,), (-1, 0)]:
            with pytest.raises(InvalidChunkIndexError):
                storage.delete_chunk(index, path="a")

    def test_a_shrunken_array_can_be_cleaned(self, storage: Storage) -> None:
        storage.write_metadata(v3_array([40], [10]))
        for n in range(4):
            storage.write_chunk([n], b"")
        storage.write_metadata(v3_array([20], [10]))
        assert sorted(storage.list_chunks()) == [(0,), (1,)]
        assert storage.delete_chunk((3,))
        assert storage.delete_chunk((2,))
        assert sorted(key for key in storage.backend.list_keys(Key("c"))) == ["c/0", "c/1"]

    @pytest.mark.parametrize("path", PATHS)
    @pytest.mark.parametrize("name", DTYPE_DOCUMENTS)
    def test_documents_survive(self, storage: Storage, name: str, path: str) -> None:
        document = DTYPE_DOCUMENTS[name]
        storage.write_metadata(document, path=path)
        file_name = ".zarray" if name.startswith("v2") else "zarr.json"
        assert stored_document(storage, at(path, file_name)) == document
        model = storage.read_metadata(path=path)
        storage.write_metadata(model, path=path)
        assert stored_document(storage, at(path, file_name)) == document
        assert storage.read_metadata(path=path) == model
        assert storage.inspect_metadata(path=path).problems == ()

    @pytest.mark.parametrize("path", PATHS)
    def test_attributes_of_format_2(self, storage: Storage, path: str) -> None:
        attributes: dict[str, Json] = {
            "units": "K",
            "_ARRAY_DIMENSIONS": ["x"],
            "valid": [1.5, float("inf")],
        }
        storage.write_metadata({**v2_array([4], [2]), "attributes": attributes}, path=path)
        assert "attributes" not in stored_document(storage, at(path, ".zarray"))
        assert stored_document(storage, at(path, ".zattrs")) == attributes
        assert storage.read_attributes(path=path) == attributes
        assert dict(storage.read_metadata(path=path).attributes)["units"] == "K"
        storage.write_metadata(v2_array([6], [2]), path=path)
        assert storage.read_attributes(path=path) == attributes
        storage.write_attributes({}, path=path)
        assert storage.read_attributes(path=path) == {}

    @pytest.mark.parametrize("path", PATHS)
    def test_attributes_of_format_3(self, storage: Storage, path: str) -> None:
        document = v3_array([4], [2], dimension_names=["x"])
        storage.write_metadata(document, path=path)
        assert storage.read_attributes(path=path) == {}
        storage.write_attributes({"units": "K"}, path=path)
        assert storage.read_attributes(path=path) == {"units": "K"}
        assert stored_document(storage, at(path, "zarr.json")) == {
            **document,
            "attributes": {"units": "K"},
        }

    @pytest.mark.parametrize("group", [V2_GROUP, V3_GROUP])
    def test_groups(self, storage: Storage, group: dict[str, object]) -> None:
        storage.write_metadata(group, path="g")  # type: ignore[arg-type]  # parametrized
        assert storage.read_metadata(path="g").node_type == "group"
        storage.write_attributes({"title": "x"}, path="g")
        assert storage.read_attributes(path="/g/") == {"title": "x"}
        for call in (
            lambda: storage.read_chunk((0,), path="g"),
            lambda: storage.write_chunk((0,), b"", path="g"),
            lambda: storage.delete_chunk((0,), path="g"),
            lambda: storage.list_chunks(path="g"),
        ):
            with pytest.raises(WrongKindError):
                call()

    def test_what_has_no_metadata(self, storage: Storage) -> None:
        for call in (
            lambda: storage.read_metadata(),
            lambda: storage.read_metadata(path="a"),
            lambda: storage.read_attributes(path="a"),
            lambda: storage.write_attributes({}, path="a"),
            lambda: storage.read_chunk((0,), path="a"),
            lambda: storage.write_chunk((0,), b"", path="a"),
            lambda: storage.delete_chunk((0,), path="a"),
            lambda: storage.list_chunks(path="a"),
            lambda: storage.delete_metadata(path="a"),
        ):
            with pytest.raises(MetadataNotFoundError):
                call()

    def test_one_node_has_one_document(self, storage: Storage) -> None:
        storage.write_metadata(v2_array([4], [2]), path="a")
        for other in (V2_GROUP, V3_GROUP, v3_array([4], [2])):
            with pytest.raises(ExistsError):
                storage.write_metadata(other, path="a")
        storage.write_attributes({"units": "K"}, path="a")
        storage.delete_metadata(path="a")
        with pytest.raises(MetadataNotFoundError):
            storage.read_metadata(path="a")
        storage.write_metadata(v3_array([4], [2]), path="a")
        assert list(storage.backend.list_keys(Key(""))) == ["a/zarr.json"]

    def test_bad_documents_are_refused(self, storage: Storage) -> None:
        for document in (
            {},
            {"zarr_format": 4},
            {"zarr_format": 3, "node_type": "table"},
            {**v3_array([4], [2]), "shape": [-1]},
            {**v2_array([4], [2]), "chunks": [2, 2]},
            {**v2_array([4], [2]), "attributes": "none"},
            {**v2_array([4], [2]), "compressor": object()},
        ):
            with pytest.raises(InvalidMetadataError) as caught:
                storage.write_metadata(document, path="a")  # type: ignore[arg-type]  # on purpose
            assert caught.value.problems
        assert list(storage.backend.list_keys(Key(""))) == []

    def test_changes_behind_its_back_are_seen(self, storage: Storage) -> None:
        storage.write_metadata(v2_array([40], [10]), path="a")
        storage.write_chunk((3,), b"three", path="a")
        other = Storage(storage.backend)
        other.write_metadata(v2_array([20], [10]), path="a")
        assert storage.list_chunks(path="a") == []
        other.delete_metadata(path="a")
        with pytest.raises(MetadataNotFoundError):
            storage.list_chunks(path="a")
        other.write_metadata(v3_array([40], [10], encoding="v2"), path="a")
        assert storage.read_chunk((3,), path="a") == b"three"

    def test_the_hierarchy_is_walked(self, storage: Storage) -> None:
        storage.write_metadata(V3_GROUP)
        storage.write_metadata(V3_GROUP, path="b")
        storage.write_metadata(v3_array([4], [2]), path="b/z")
        storage.write_chunk((0,), b"", path="b/z")
        storage.write_metadata(v2_array([], []), path="b/a")
        storage.write_metadata(V2_GROUP, path="plain/folder/group")
        storage.backend.set(Key("broken/.zarray"), b"{")
        nodes = list(storage.walk())
        assert [(node.path, type(node) is Node) for node in nodes] == [
            ("", True),
            ("b", True),
            ("b/a", True),
            ("b/z", True),
            ("broken", False),
            ("plain/folder/group", True),
        ]
        assert [node.path for node in storage.walk("b")] == ["b", "b/a", "b/z"]

    def test_a_closed_storage(self, storage: Storage) -> None:
        storage.write_metadata(v2_array([4], [2]))
        storage.close()
        storage.close()
        assert storage.closed
        for call in (
            lambda: storage.read_chunk((0,)),
            lambda: storage.write_chunk((0,), b""),
            lambda: storage.read_metadata(),
            lambda: storage.list_chunks(),
        ):
            with pytest.raises(StaleError):
                call()
