"""A file tree made of keys alone: reading, writing, empty folders, renaming."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator

import pytest

from tests.suites.dict_backend import DictBackend
from tests.unit.vfs.client import Client
from zarrfs.errors import (
    ExistsError,
    IsAFolderError,
    NotAFolderError,
    NotEmptyError,
    NotFoundError,
    StaleError,
    UnsupportedError,
)
from zarrfs.storage.backend import Backend, Buffer, Key, KeyStat, Listed
from zarrfs.storage.tree import ROOT, AttrChange, NodeId
from zarrfs.vfs.filesystem import Vfs
from zarrfs.vfs.key_nodes import number_of
from zarrfs.vfs.key_tree import KeyTree
from zarrfs.vfs.operations import NO_HANDLE
from zarrfs.vfs.options import Validate, VfsOptions

PLAIN = VfsOptions(validate=Validate.OFF)


class StaticView:
    """A backend that never changes, counting what it is asked."""

    kind = "static"
    location = "static"
    read_only = True
    static = True

    def __init__(self, values: dict[str, bytes]) -> None:
        self._inner = DictBackend()
        for key, value in values.items():
            self._inner.set(Key(key), value)
        self.asked: list[str] = []

    def get(self, key: Key, start: int = 0, stop: int | None = None) -> Buffer:
        self.asked.append(f"get {key}")
        return self._inner.get(key, start, stop)

    def stat(self, key: Key) -> KeyStat:
        self.asked.append(f"stat {key}")
        return self._inner.stat(key)

    def set(self, key: Key, data: Buffer) -> None:
        raise AssertionError

    def delete(self, key: Key) -> None:
        raise AssertionError

    def list_dir(self, prefix: Key) -> Iterator[Listed]:
        self.asked.append(f"list {prefix}")
        return self._inner.list_dir(prefix)

    def list_keys(self, prefix: Key) -> Iterator[Key]:
        return self._inner.list_keys(prefix)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture
def backend() -> DictBackend:
    return DictBackend()


@pytest.fixture
def client(backend: Backend) -> Client:
    return Client(Vfs(KeyTree(backend), PLAIN))


def keys(backend: Backend) -> list[str]:
    return sorted(backend.list_keys(Key("")))


def test_reading_what_is_stored(backend: DictBackend, client: Client) -> None:
    backend.set(Key("a/zarr.json"), b"{}")
    backend.set(Key("a/c/0/0"), b"12345")
    assert client.names() == ["a"]
    assert client.names("a") == ["c", "zarr.json"]
    assert client.read("a/c/0/0") == b"12345"
    assert client.stat("a/c/0/0").size == 5
    with pytest.raises(NotFoundError):
        client.stat("a/c/0/1")
    with pytest.raises(NotAFolderError):
        client.stat("a/zarr.json/below")


def test_a_value_is_set_whole_when_closed(backend: DictBackend, client: Client) -> None:
    with client.opened("a", os.O_CREAT | os.O_WRONLY) as (nodeid, handle):
        client.vfs.write(client.caller, nodeid, handle, 3, b"x")
        client.vfs.write(client.caller, nodeid, handle, 0, b"abc")
        assert keys(backend) == []
        assert client.names() == ["a"]
        assert client.stat("a").size == 4
    assert bytes(backend.get(Key("a"))) == b"abcx"


def test_fsync_sets_what_is_there_so_far(backend: DictBackend, client: Client) -> None:
    with client.opened("a", os.O_CREAT | os.O_WRONLY) as (nodeid, handle):
        client.vfs.write(client.caller, nodeid, handle, 0, b"1")
        client.vfs.fsync(client.caller, nodeid, handle, data_only=True)
        assert bytes(backend.get(Key("a"))) == b"1"
        client.vfs.write(client.caller, nodeid, handle, 1, b"2")
    assert bytes(backend.get(Key("a"))) == b"12"


def test_partial_overwrite_append_and_truncate(backend: DictBackend, client: Client) -> None:
    backend.set(Key("a"), b"12345")
    client.write("a", b"xy", flags=0)
    assert bytes(backend.get(Key("a"))) == b"xy345"
    with client.opened("a", os.O_WRONLY | os.O_APPEND) as (nodeid, handle):
        client.vfs.write(client.caller, nodeid, handle, 0, b"!")
    assert bytes(backend.get(Key("a"))) == b"xy345!"
    client.truncate("a", 2)
    assert bytes(backend.get(Key("a"))) == b"xy"
    client.truncate("a", 3)
    assert bytes(backend.get(Key("a"))) == b"xy\0"


def test_large_contents_go_through_a_file(backend: DictBackend, client: Client) -> None:
    data = os.urandom(3 << 20)
    with client.opened("a", os.O_CREAT | os.O_RDWR) as (nodeid, handle):
        for start in range(0, len(data), 1 << 18):
            piece = data[start : start + (1 << 18)]
            client.vfs.write(client.caller, nodeid, handle, start, piece)
        assert (
            bytes(client.vfs.read(client.caller, nodeid, handle, 1 << 20, 9))
            == (data[1 << 20 : (1 << 20) + 9])
        )
    assert bytes(backend.get(Key("a"))) == data


def test_an_unlinked_file_lives_while_open(backend: DictBackend, client: Client) -> None:
    backend.set(Key("a"), b"old")
    with client.opened("a", os.O_RDWR) as (nodeid, handle):
        client.unlink("a")
        assert not client.exists("a")
        client.write("a", b"new")
        assert bytes(client.vfs.read(client.caller, nodeid, handle, 0, 9)) == b"old"
        client.vfs.write(client.caller, nodeid, handle, 0, b"x")
        assert bytes(client.vfs.read(client.caller, nodeid, handle, 0, 9)) == b"xld"
    assert bytes(backend.get(Key("a"))) == b"new"


def test_empty_folders_are_kept(backend: DictBackend, client: Client) -> None:
    client.mkdir("a")
    client.mkdir("a/b")
    with pytest.raises(ExistsError):
        client.mkdir("a")
    with pytest.raises(NotEmptyError):
        client.rmdir("a")
    client.write("a/b/0", b"1")
    client.unlink("a/b/0")
    assert client.names("a") == ["b"]
    client.rmdir("a/b")
    client.rmdir("a")
    assert client.names() == []
    with pytest.raises(NotFoundError):
        client.rmdir("a")


def test_renaming_values(backend: DictBackend, client: Client) -> None:
    client.write("t.partial", b"new")
    client.write("0.0", b"old")
    with client.opened("0.0") as (nodeid, handle):
        client.rename("t.partial", "0.0")
        assert bytes(client.vfs.read(client.caller, nodeid, handle, 0, 9)) == b"old"
    assert keys(backend) == ["0.0"]
    assert client.read("0.0") == b"new"
    client.write("0.1", b"1")
    with pytest.raises(ExistsError):
        client.rename("0.0", "0.1", 1)
    with pytest.raises(UnsupportedError):
        client.rename("0.0", "0.1", 2)
    with pytest.raises(NotFoundError):
        client.rename("nothing", "0.2")


def test_renaming_while_it_is_written(backend: DictBackend, client: Client) -> None:
    with client.opened("a", os.O_CREAT | os.O_WRONLY) as (nodeid, handle):
        client.vfs.write(client.caller, nodeid, handle, 0, b"12")
        client.rename("a", "b")
        assert bytes(backend.get(Key("b"))) == b"12"
        client.vfs.write(client.caller, nodeid, handle, 2, b"34")
    assert keys(backend) == ["b"]
    assert bytes(backend.get(Key("b"))) == b"1234"


def test_renaming_folders(backend: DictBackend, client: Client) -> None:
    client.mkdir("a")
    client.mkdir("a/empty")
    client.write("a/0", b"0")
    client.mkdir("full")
    client.write("full/0", b"1")
    with pytest.raises(NotEmptyError):
        client.rename("a", "full")
    with pytest.raises(OSError, match="itself"):
        client.rename("a", "a/b")
    with pytest.raises(NotAFolderError):
        client.rename("a", "full/0")
    with pytest.raises(IsAFolderError):
        client.rename("full/0", "a")
    client.rename("a", "b")
    assert client.names() == ["b", "full"]
    assert client.names("b") == ["0", "empty"]
    assert client.read("b/0") == b"0"


class WaitingBackend(DictBackend):
    """Sets the key `slow` only once the key `fast` is there."""

    def __init__(self) -> None:
        super().__init__()
        self.fast = threading.Event()

    def set(self, key: Key, data: Buffer) -> None:
        if key == "slow":
            assert self.fast.wait(60)
        super().set(key, data)
        if key == "fast":
            self.fast.set()


def test_a_slow_value_does_not_hold_up_others() -> None:
    backend = WaitingBackend()
    client = Client(Vfs(KeyTree(backend), PLAIN))
    writer = threading.Thread(target=client.write, args=("slow", b"1"))
    writer.start()
    client.write("fast", b"2")
    writer.join(60)
    assert keys(backend) == ["fast", "slow"]


def test_a_large_content_may_become_empty(backend: DictBackend, client: Client) -> None:
    with client.opened("a", os.O_CREAT | os.O_RDWR) as (nodeid, handle):
        client.vfs.write(client.caller, nodeid, handle, 2 << 20, b"x")
        client.vfs.setattr(client.caller, nodeid, AttrChange(size=0), handle)
    assert bytes(backend.get(Key("a"))) == b""


def test_what_keys_cannot_express(backend: DictBackend, client: Client) -> None:
    client.write("a", b"1")
    with pytest.raises(OSError) as caught:
        client.link("a", "b")
    assert caught.value.errno == errno.EPERM
    with pytest.raises(ExistsError):
        client.link("a", "a")
    with pytest.raises(OSError) as caught:
        client.vfs.symlink(client.caller, ROOT, b"s", b"a")
    assert caught.value.errno == errno.EPERM
    for change in (AttrChange(mode=0o100600), AttrChange(uid=1), AttrChange(mtime_ns=1)):
        with client.node("a") as nodeid, pytest.raises(OSError) as caught:
            client.vfs.setattr(client.caller, nodeid, change, None)
        assert caught.value.errno == errno.EPERM


def test_a_static_store_is_asked_once(client: Client) -> None:
    view = StaticView({"a/0": b"12345", "a/1": b"1"})
    vfs = Vfs(KeyTree(view))
    assert vfs.read_only
    assert vfs.policy.stateless_open
    assert vfs.policy.entry_timeout_s > 3600
    client = Client(vfs)
    with client.node("a"), client.node("a/0") as nodeid:
        view.asked.clear()
        for _ in range(3):
            assert client.stat("a/0").size == 5
            assert bytes(vfs.read(client.caller, nodeid, NO_HANDLE, 1, 3)) == b"234"
        assert set(view.asked) <= {"get a/0", "stat a"}
        assert view.asked.count("get a/0") == 3


def test_a_successor_knows_the_numbers(backend: DictBackend) -> None:
    view = StaticView({"a/b/0": b"12345"})
    first = Client(Vfs(KeyTree(view)))
    with first.node("a/b/0") as nodeid:
        assert nodeid == number_of("a/b/0")
        successor = KeyTree(view)
        assert successor.attr(nodeid).size == 5
        assert bytes(successor.read_node(nodeid, 0, 2)) == b"12"
        with pytest.raises(StaleError):
            successor.attr(NodeId(nodeid + 1))


def test_listing_a_large_prefix_has_stable_offsets() -> None:
    view = StaticView({f"c/{n}": b"x" for n in range(300)})
    vfs = Vfs(KeyTree(view))
    client = Client(vfs)
    with client.node("c") as nodeid:
        names: list[bytes] = []
        offset = 0
        while True:
            part = []
            for listed in vfs.readdir(client.caller, nodeid, NO_HANDLE, offset, plus=True):
                part.append(listed)
                if len(part) == 7:
                    break
            if not part:
                break
            names += [listed.name for listed in part]
            offset = part[-1].next_offset
    assert sorted(names) == sorted([b".", b"..", *(b"%d" % n for n in range(300))])
