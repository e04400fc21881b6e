"""What `validate=` lets through, tells of and refuses; the rules, and over real trees."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.suites.dict_backend import DictBackend
from tests.unit.vfs.client import Client
from zarrfs.errors import InvalidArgumentError, NotFoundError
from zarrfs.storage.directory import DirectoryBackend
from zarrfs.storage.memory import MemoryBackend
from zarrfs.storage.tree import AttrChange, Change
from zarrfs.vfs.filesystem import Vfs
from zarrfs.vfs.key_tree import KeyTree
from zarrfs.vfs.options import Validate, VfsOptions
from zarrfs.vfs.validation import chunk_size_problem
from zarrfs.vfs.zarr_nodes import ZarrNodes
from zarrfs.zarr_format.layout import array_layout

ARRAY_V2 = {
    "zarr_format": 2,
    "shape": [4, 4],
    "chunks": [2, 2],
    "dtype": "<i4",
    "compressor": None,
    "filters": None,
    "fill_value": 0,
    "order": "C",
}
ARRAY_V3 = {
    "zarr_format": 3,
    "node_type": "array",
    "shape": [4, 4],
    "data_type": "int32",
    "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2, 2]}},
    "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
    "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
    "fill_value": 0,
}
SHARDED = ARRAY_V3 | {
    "codecs": [
        {
            "name": "sharding_indexed",
            "configuration": {"chunk_shape": [1, 1], "codecs": [{"name": "bytes"}]},
        }
    ]
}
CHUNK = bytes(range(16))


@pytest.mark.parametrize(
    ("document", "size", "possible"),
    [
        (ARRAY_V2, 16, True),
        (ARRAY_V2, 15, False),
        (ARRAY_V2, 0, False),
        (ARRAY_V2 | {"compressor": {"id": "zlib", "level": 1}}, 3, True),
        (ARRAY_V2 | {"compressor": {"id": "zlib", "level": 1}}, 0, False),
        (ARRAY_V2 | {"dtype": "|O", "filters": [{"id": "vlen-utf8"}]}, 5, True),
        (ARRAY_V3, 16, True),
        (ARRAY_V3, 17, False),
        (ARRAY_V3 | {"codecs": [{"name": "bytes"}, {"name": "crc32c"}]}, 20, True),
        (ARRAY_V3 | {"codecs": [{"name": "bytes"}, {"name": "crc32c"}]}, 16, False),
        (ARRAY_V3 | {"codecs": [{"name": "bytes"}, {"name": "zstd"}]}, 9, True),
        (SHARDED, 64, True),
        (SHARDED, 63, False),
    ],
)
def test_chunk_sizes(document: dict[str, object], size: int, possible: bool) -> None:
    layout = array_layout(json.loads(json.dumps(document)), "a")
    assert (chunk_size_problem(layout, size) is None) == possible


Made = Callable[[Validate], Client]


@pytest.fixture(params=["memory", "directory", "keys"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Made]:
    clients: list[Client] = []

    def make(validate: Validate) -> Client:
        if request.param == "memory":
            tree = MemoryBackend().file_tree()
        elif request.param == "directory":
            tree = DirectoryBackend.init(str(tmp_path / "store")).file_tree()
        else:
            tree = KeyTree(DictBackend())
        clients.append(Client(Vfs(tree, VfsOptions(validate=validate))))
        return clients[-1]

    yield make
    for client in clients:
        client.vfs.destroy()


def with_array(client: Client, document: dict[str, object] = ARRAY_V2) -> Client:
    client.mkdir("a")
    name = ".zarray" if document["zarr_format"] == 2 else "zarr.json"
    client.write(f"a/{name}", json.dumps(document).encode())
    return client


BAD = [
    ("a/.zarray", b"{"),
    ("a/.zarray", b""),
    ("a/.zarray", b'{"zarr_format": 3}'),
    ("a/.zattrs", b"[]"),
    ("zarr.json", b'{"zarr_format": 3, "node_type": "pair"}'),
    ("a/0.1", CHUNK[:7]),
    ("a/1.1", b""),
]


@pytest.mark.parametrize(("path", "data"), BAD)
def test_strict_refuses_in_place_writes_and_keeps_what_was_there(
    made: Made, path: str, data: bytes
) -> None:
    client = with_array(made(Validate.STRICT))
    client.write("a/1.1", CHUNK)
    before = client.read(path) if client.exists(path) else None
    with pytest.raises(InvalidArgumentError):
        client.write(path, data)
    after = client.read(path) if client.exists(path) else None
    assert after == before
    assert (path.rpartition("/")[2] in client.names("a" if "/" in path else "")) == bool(before)


@pytest.mark.parametrize(("path", "data"), BAD)
def test_strict_refuses_renames_and_links(made: Made, path: str, data: bytes) -> None:
    client = with_array(made(Validate.STRICT))
    client.write("a/x.partial", data)
    with pytest.raises(InvalidArgumentError):
        client.rename("a/x.partial", path)
    with pytest.raises(InvalidArgumentError):
        client.link("a/x.partial", path)
    assert client.read("a/x.partial") == data
    assert path == "a/.zarray" or not client.exists(path)


def test_strict_lets_right_content_through(made: Made) -> None:
    client = with_array(made(Validate.STRICT))
    client.write("a/0.0", CHUNK)
    client.write("a/t", CHUNK)
    client.rename("a/t", "a/0.1")
    client.write("a/notes.txt", b"")
    client.write("a/0.9", b"outside the grid, so no chunk")
    assert client.read("a/0.0") == client.read("a/0.1") == CHUNK
    assert client.stat("a/0.0").size == 16
    assert client.names("a") == [".zarray", "0.0", "0.1", "0.9", "notes.txt"]


def test_strict_judges_when_the_file_is_complete_not_before(made: Made) -> None:
    client = with_array(made(Validate.STRICT), ARRAY_V3)
    client.mkdir("a/c")
    client.mkdir("a/c/0")
    with client.opened("a/c/0/1", os.O_CREAT | os.O_RDWR) as (nodeid, handle):
        for start in range(0, 16, 4):
            piece = CHUNK[start : start + 4]
            client.vfs.write(client.caller, nodeid, handle, start, piece)
            assert client.stat("a/c/0/1").size == start + 4
        with pytest.raises(InvalidArgumentError):  # a forked child closes its copy too early
            client.vfs.write(client.caller, nodeid, handle, 16, b"x")
            client.vfs.flush(client.caller, nodeid, handle)
        client.vfs.setattr(client.caller, nodeid, AttrChange(size=16), handle)
    assert client.read("a/c/0/1") == CHUNK


def test_strict_partial_overwrite_starts_from_what_is_there(made: Made) -> None:
    client = with_array(made(Validate.STRICT))
    client.write("a/0.0", CHUNK)
    client.write("a/0.0", b"\xff\xff", flags=0)
    assert client.read("a/0.0") == b"\xff\xff" + CHUNK[2:]


def test_strict_truncation_by_path_is_judged_at_once(made: Made) -> None:
    client = with_array(made(Validate.STRICT))
    client.write("a/0.0", CHUNK)
    with pytest.raises(InvalidArgumentError):
        client.truncate("a/0.0", 3)
    client.truncate("a/0.0", 16)
    assert client.read("a/0.0") == CHUNK


def test_strict_refusal_is_told_to_the_kernel(made: Made) -> None:
    client = with_array(made(Validate.STRICT))
    client.write("a/0.0", CHUNK)
    changes: list[Change] = []
    client.vfs.watch(changes.append)
    with client.node("a/0.0") as nodeid:
        with pytest.raises(InvalidArgumentError):
            client.write("a/0.0", b"short")
        assert Change(None, b"", nodeid) in changes


def test_strict_readers_see_the_old_content_after_a_refusal(made: Made) -> None:
    client = with_array(made(Validate.STRICT))
    client.write("a/0.0", CHUNK)
    with (
        client.opened("a/0.0") as (nodeid, handle),
        client.opened("a/0.0", os.O_WRONLY | os.O_TRUNC) as (_, writing),
    ):
        client.vfs.write(client.caller, nodeid, writing, 0, b"new")
        assert bytes(client.vfs.read(client.caller, nodeid, handle, 0, 99)) == b"new"
        with pytest.raises(InvalidArgumentError):
            client.vfs.flush(client.caller, nodeid, writing)
        assert bytes(client.vfs.read(client.caller, nodeid, handle, 0, 99)) == CHUNK
        client.vfs.write(client.caller, nodeid, writing, 0, CHUNK[::-1])
    assert client.read("a/0.0") == CHUNK[::-1]


@pytest.mark.parametrize(("path", "data"), BAD)
def test_warn_lets_through_and_tells(
    made: Made, path: str, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    client = with_array(made(Validate.WARN))
    with caplog.at_level(logging.WARNING):
        client.write(path, b"x")
        client.write(path, data)
    assert client.read(path) == data
    assert any(path in record.getMessage() for record in caplog.records)
    caplog.clear()
    client.unlink(path)
    client.write("a/x.partial", data)
    if path != "a/.zarray" and not path.startswith("a/."):
        with caplog.at_level(logging.WARNING):
            client.rename("a/x.partial", path)
        assert any(path in record.getMessage() for record in caplog.records)


def test_warn_says_nothing_of_right_content(made: Made, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        client = with_array(made(Validate.WARN))
        client.write("a/0.0", CHUNK)
        client.write("a/t.partial", CHUNK)
        client.rename("a/t.partial", "a/0.1")
        client.write("a/README", b"")
    assert not caplog.records


def test_off_says_nothing(made: Made, caplog: pytest.LogCaptureFixture) -> None:
    client = with_array(made(Validate.OFF))
    for path, data in BAD:
        client.write(path, data)
    assert not caplog.records


def test_a_missing_name_is_still_missing(made: Made) -> None:
    client = with_array(made(Validate.STRICT))
    with pytest.raises((NotFoundError, FileNotFoundError)):
        client.rename("a/nothing", "a/0.0")


def test_the_chunks_of_a_known_array_need_no_look_at_the_folders_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("zarrfs.vfs.zarr_nodes.TRUST_S", 3600.0)
    tree = MemoryBackend().file_tree()
    client = Client(Vfs(tree))
    client.mkdir("a")
    client.write("a/zarr.json", json.dumps(ARRAY_V3).encode())
    nodes = ZarrNodes(tree)
    first = nodes.chunk_of("a/c/0/1")
    assert first is not None and first.index == (0, 1)
    monkeypatch.setattr(tree, "lookup", lambda *_: pytest.fail("looked"))
    second = nodes.chunk_of("a/c/1/0")
    assert second is not None and second.index == (1, 0)
