"""`Vfs` without a kernel: names, permissions, listings, caching, handles, limits of a mount."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from tests.suites.dict_backend import DictBackend
from tests.unit.vfs.client import ME, Client
from zarrfs.errors import (
    DeniedError,
    InvalidArgumentError,
    InvalidNameError,
    NameTooLongError,
    ReadOnlyError,
    StaleError,
)
from zarrfs.storage.backend import Key
from zarrfs.storage.directory import DirectoryBackend
from zarrfs.storage.memory import MemoryBackend
from zarrfs.storage.tree import ROOT, AttrChange, Change, FileTree
from zarrfs.vfs import permissions
from zarrfs.vfs.errnos import errno_of
from zarrfs.vfs.filesystem import Vfs
from zarrfs.vfs.key_tree import KeyTree
from zarrfs.vfs.operations import NO_HANDLE, Caller, FileHandle
from zarrfs.vfs.options import VfsOptions


@pytest.fixture(params=["memory", "directory", "keys"])
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> FileTree:
    if request.param == "memory":
        return MemoryBackend().file_tree()
    if request.param == "directory":
        return DirectoryBackend.init(str(tmp_path / "store")).file_tree()
    return KeyTree(DictBackend())


@pytest.fixture
def client(tree: FileTree) -> Client:
    return Client(Vfs(tree))


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"a\0b", b"/"])
def test_what_is_no_name_is_refused(client: Client, name: bytes) -> None:
    for call in (
        lambda: client.vfs.lookup(ME, ROOT, name),
        lambda: client.vfs.mkdir(ME, ROOT, name, 0o755, 0),
        lambda: client.vfs.create(ME, ROOT, name, 0o644, os.O_RDWR, 0),
        lambda: client.vfs.unlink(ME, ROOT, name),
        lambda: client.vfs.rename(ME, ROOT, b"a", ROOT, name, 0),
    ):
        with pytest.raises(InvalidNameError):
            call()


def test_names_have_a_limit(client: Client) -> None:
    with pytest.raises(NameTooLongError):
        client.vfs.lookup(ME, ROOT, b"x" * 256)
    client.write("x" * 255, b"1")
    assert client.names() == ["x" * 255]


def test_read_only_refuses_every_change(tree: FileTree) -> None:
    Client(Vfs(tree)).write("f", b"1")
    client = Client(Vfs(tree, VfsOptions(read_only=True)))
    assert client.vfs.read_only
    with client.node("f") as nodeid:
        for call in (
            lambda: client.vfs.open(ME, nodeid, os.O_WRONLY),
            lambda: client.vfs.open(ME, nodeid, os.O_RDONLY | os.O_TRUNC),
            lambda: client.vfs.setattr(ME, nodeid, AttrChange(mode=0o600), None),
            lambda: client.vfs.unlink(ME, ROOT, b"f"),
            lambda: client.vfs.mkdir(ME, ROOT, b"d", 0o755, 0),
            lambda: client.vfs.link(ME, nodeid, ROOT, b"g"),
            lambda: client.vfs.setxattr(ME, nodeid, b"user.a", b"1", 0),
            lambda: client.vfs.access(ME, nodeid, os.W_OK),
        ):
            with pytest.raises(ReadOnlyError):
                call()
    assert client.read("f") == b"1"


def test_listing_continues_where_it_was_while_names_change(client: Client) -> None:
    for n in range(20):
        client.write(f"n{n:02}", b"")
    handle = client.vfs.opendir(ME, ROOT).handle
    first = [next(client.vfs.readdir(ME, ROOT, handle, 0, plus=False))]
    for listed in client.vfs.readdir(ME, ROOT, handle, first[-1].next_offset, plus=False):
        first.append(listed)
        if len(first) == 10:
            break
    for listed in first:
        if listed.name not in (b".", b".."):
            client.unlink(os.fsdecode(listed.name))
    client.write("later", b"")
    rest = list(client.vfs.readdir(ME, ROOT, handle, first[-1].next_offset, plus=True))
    seen = [listed.name for listed in [*first, *rest]]
    assert len(seen) == len(set(seen)) == 22
    again = [listed.name for listed in client.vfs.readdir(ME, ROOT, handle, 0, plus=False)]
    assert b"later" in again and len(again) == 2 + 12 + 1
    client.vfs.releasedir(ROOT, handle)


def test_readdirplus_counts_what_is_listed(tmp_path: Path) -> None:
    tree = DirectoryBackend.init(str(tmp_path / "store")).file_tree()
    client = Client(Vfs(tree))
    for n in range(5):
        client.write(str(n), b"")
    assert len(tree.nodes) == 1
    handle = client.vfs.opendir(ME, ROOT).handle
    sent = []
    for listed in client.vfs.readdir(ME, ROOT, handle, 0, plus=True):
        if listed.entry is None:
            continue
        if listed.name in (b"1", b"3"):
            sent.append(listed.entry.nodeid)
        else:
            client.vfs.forget(listed.entry.nodeid, 1)
    assert len(tree.nodes) == 3
    for nodeid in sent:
        client.vfs.forget(nodeid, 1)
    assert len(tree.nodes) == 1
    tree.nodes.check_invariants()


def test_large_folders_are_listed_without_what_expires(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zarrfs.vfs.listing.NAMES_ONLY_FROM", 3)
    expiring = Vfs(DirectoryBackend.init(str(tmp_path / "store")).file_tree())
    lasting = Vfs(MemoryBackend().file_tree())
    lasting.watch(lambda change: None)
    for vfs, has_entries in ((expiring, False), (lasting, True)):
        client = Client(vfs)
        for n in range(4):
            client.write(str(n), b"")
        listed = list(vfs.readdir(ME, ROOT, NO_HANDLE, 2, plus=True))
        assert len(listed) == 4
        assert all((found.entry is not None) == has_entries for found in listed)


def test_an_unknown_handle_is_stale(client: Client) -> None:
    client.write("f", b"1")
    with client.node("f") as nodeid:
        with pytest.raises(StaleError):
            client.vfs.read(ME, nodeid, FileHandle(5), 0, 1)
        client.vfs.release(nodeid, FileHandle(5))
        client.vfs.flush(ME, nodeid, NO_HANDLE)


def test_rename_flags_are_those_of_renameat2(client: Client) -> None:
    client.write("a", b"1")
    for flags in (3, 4, 8):
        with pytest.raises(InvalidArgumentError):
            client.rename("a", "b", flags)


def test_creating_what_came_into_being_meanwhile(client: Client) -> None:
    client.write("f", b"12345")
    entry, opened = client.vfs.create(ME, ROOT, b"f", 0o644, os.O_RDWR | os.O_CREAT, 0)
    assert bytes(client.vfs.read(ME, entry.nodeid, opened.handle, 0, 9)) == b"12345"
    client.vfs.release(entry.nodeid, opened.handle)
    with pytest.raises(Exception) as caught:
        client.vfs.create(ME, ROOT, b"f", 0o644, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0)
    assert errno_of(caught.value) == errno.EEXIST


def test_what_may_be_cached(tree: FileTree, tmp_path: Path) -> None:
    vfs = Vfs(tree)
    assert vfs.policy.entry_timeout_s < 1
    assert not vfs.policy.stateless_open
    vfs.watch(lambda change: None)
    if isinstance(tree, KeyTree) or hasattr(tree, "nodes"):
        assert vfs.policy.entry_timeout_s < 1  # it changes underneath, untold
    else:
        assert vfs.policy.entry_timeout_s > 3600
        assert vfs.policy.cache_dir
    assert Vfs(tree, VfsOptions(cache_timeout_s=0)).policy.attr_timeout_s == 0


def test_pages_are_kept_while_a_file_stays_the_same(tmp_path: Path) -> None:
    backend = DirectoryBackend.init(str(tmp_path))
    vfs = Vfs(backend.file_tree())
    (tmp_path / "f").write_bytes(b"1")
    client = Client(vfs)
    with client.node("f") as nodeid:

        def keeps(flags: int = os.O_RDONLY) -> bool:
            opened = vfs.open(ME, nodeid, flags)
            vfs.release(nodeid, opened.handle)
            return opened.keep_cache

        assert not keeps()
        assert keeps()
        os.utime(tmp_path / "f", (1, 1))
        assert not keeps()
        assert keeps(os.O_WRONLY)
        assert not keeps()


def test_changes_by_storage_are_told(tmp_path: Path) -> None:
    for backend in (MemoryBackend(), DirectoryBackend.init(str(tmp_path))):
        vfs = Vfs(backend.file_tree())
        told: list[Change] = []
        vfs.watch(told.append)
        backend.set(Key("a"), b"1")
        assert any(change.parent == ROOT and change.name == b"a" for change in told)
        nodeid = vfs.lookup(ME, ROOT, b"a").nodeid
        told.clear()
        backend.set(Key("a"), b"22")
        assert any(change.nodeid == nodeid or change.name == b"a" for change in told)


ALICE = Caller(1000, 1000, 0)


@pytest.mark.parametrize(
    ("mode", "uid", "gid", "mask", "granted"),
    [
        (0o600, 1000, 0, os.R_OK | os.W_OK, True),
        (0o600, 1000, 0, os.X_OK, False),
        (0o060, 1000, 1000, os.R_OK, False),
        (0o060, 0, 1000, os.R_OK, True),
        (0o006, 0, 0, os.W_OK, True),
        (0o660, 0, 0, os.R_OK, False),
    ],
)
def test_access(mode: int, uid: int, gid: int, mask: int, granted: bool) -> None:
    attr = MemoryBackend().file_tree().attr(ROOT)
    attr = attr._replace(mode=stat.S_IFREG | mode, uid=uid, gid=gid)
    if granted:
        permissions.check_access(attr, ALICE, mask)
    else:
        with pytest.raises(DeniedError):
            permissions.check_access(attr, ALICE, mask)
    permissions.check_access(attr, Caller(0, 0, 0), os.R_OK | os.W_OK)


def test_supplementary_groups_are_looked_up() -> None:
    assert permissions.supplementary_groups(os.getpid()) == frozenset(os.getgroups())
    assert permissions.supplementary_groups(1 << 30) == frozenset()


def test_chown_and_writes_by_others_clear_set_id_bits(tmp_path: Path) -> None:
    vfs = Vfs(MemoryBackend().file_tree())
    entry = vfs.mknod(ME, ROOT, b"f", stat.S_IFREG | 0o6755, 0, 0)
    vfs.killpriv(ALICE, entry.nodeid)
    assert stat.S_IMODE(vfs.getattr(ME, entry.nodeid, None).mode) == 0o755
    vfs.setattr(ME, entry.nodeid, AttrChange(mode=0o6755), None)
    vfs.setattr(ME, entry.nodeid, AttrChange(uid=3), None)
    assert stat.S_IMODE(vfs.getattr(ME, entry.nodeid, None).mode) == 0o755


def test_group_folders_pass_their_group_on() -> None:
    vfs = Vfs(MemoryBackend().file_tree())
    folder = vfs.mkdir(ME, ROOT, b"d", 0o755, 0).nodeid
    vfs.setattr(ME, folder, AttrChange(gid=77, mode=0o2775), None)
    below = vfs.mkdir(ALICE, folder, b"s", 0o755, 0o22).attr
    assert (below.uid, below.gid) == (1000, 77)
    assert below.mode & stat.S_ISGID
    made, opened = vfs.create(ALICE, folder, b"f", 0o666, os.O_RDWR, 0o27)
    assert (made.attr.uid, made.attr.gid, stat.S_IMODE(made.attr.mode)) == (1000, 77, 0o640)
    vfs.release(made.nodeid, opened.handle)


def test_shown_owner_and_mode() -> None:
    tree = MemoryBackend().file_tree()
    Client(Vfs(tree)).write("f", b"1")
    client = Client(Vfs(tree, VfsOptions(uid=5, gid=6, fmode=0o440, dmode=0o550)))
    for path, mode in (("f", stat.S_IFREG | 0o440), ("", stat.S_IFDIR | 0o550)):
        attr = client.stat(path)
        assert (attr.uid, attr.gid, attr.mode) == (5, 6, mode)
    with client.node("f") as nodeid:
        client.vfs.setattr(ME, nodeid, AttrChange(uid=5, mode=0o100440), None)
        with pytest.raises(OSError) as caught:
            client.vfs.setattr(ME, nodeid, AttrChange(uid=7), None)
        assert caught.value.errno == errno.EPERM
    listed = client.vfs.readdir(ME, ROOT, NO_HANDLE, 2, plus=True)
    assert [entry.entry.attr.uid for entry in listed if entry.entry is not None] == [5]
