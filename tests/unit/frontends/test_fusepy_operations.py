"""The callbacks of the portable frontend, called as libfuse calls them, without a kernel."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from zarrfs.frontends import fusepy_departures
from zarrfs.frontends.fusepy_operations import UTIME_NOW, UTIME_OMIT, FusepyOperations
from zarrfs.frontends.fusepy_paths import Paths
from zarrfs.storage import Key, Storage
from zarrfs.storage.memory import MemoryBackend
from zarrfs.storage.tree import ROOT, Change, Entry, NodeId
from zarrfs.vfs.filesystem import Vfs
from zarrfs.vfs.operations import Caller
from zarrfs.vfs.options import VfsOptions

CALLER = Caller(0, 0, 1)


class CountingVfs(Vfs):
    """Knows how many references to each node have been handed out and not given back."""

    def __init__(self, backend: MemoryBackend, options: VfsOptions | None = None) -> None:
        super().__init__(backend.file_tree(), options)
        self.lock = threading.Lock()
        self.references: Counter[NodeId] = Counter()
        """Guarded by: `lock`."""
        self.lookups: list[bytes] = []

    def lookup(self, caller: Caller, parent: NodeId, name: bytes) -> Entry:
        self.lookups.append(name)
        entry = super().lookup(caller, parent, name)
        with self.lock:
            self.references[entry.nodeid] += 1
        return entry

    def forget(self, nodeid: NodeId, count: int) -> None:
        with self.lock:
            self.references[nodeid] -= count
            assert self.references[nodeid] >= 0
        super().forget(nodeid, count)

    def held(self) -> int:
        return self.references.total()


@pytest.fixture
def backend() -> Iterator[MemoryBackend]:
    store = MemoryBackend()
    for key in ("a/b/c", "a/d", "e"):
        store.set(Key(key), key.encode())
    yield store
    store.close()


@pytest.fixture
def vfs(backend: MemoryBackend) -> CountingVfs:
    return CountingVfs(backend)


@pytest.fixture
def operations(vfs: CountingVfs) -> FusepyOperations:
    return FusepyOperations(vfs, lambda: (0, 0, 1), path_capacity=8)


def info(flags: int = os.O_RDONLY) -> SimpleNamespace:
    return SimpleNamespace(flags=flags, fh=0, direct_io=0, keep_cache=0)


def failing(call: object, *arguments: object) -> int:
    assert callable(call)
    with pytest.raises(OSError) as raised:
        call(*arguments)
    assert raised.value.errno is not None
    return raised.value.errno


def test_a_file_is_read_and_its_node_given_back(
    operations: FusepyOperations, vfs: CountingVfs
) -> None:
    fi = info()
    operations.open("/a/b/c", fi)
    assert operations.read(None, 100, 0, fi) == b"a/b/c"
    assert operations.read("/a/b/c", 2, 3, fi) == b"/c"
    assert operations.getattr(None, fi)["st_size"] == 5
    operations.release(None, fi)
    assert failing(operations.read, None, 1, 0, fi) == errno.ESTALE
    operations.close()
    assert vfs.held() == 0


def test_errors_become_errnos(operations: FusepyOperations) -> None:
    assert failing(operations.getattr, "/none") == errno.ENOENT
    assert failing(operations.getattr, "/e/x") == errno.ENOTDIR
    assert failing(operations.mkdir, "/a", 0o755) == errno.EEXIST
    assert failing(operations.rmdir, "/a") == errno.ENOTEMPTY
    assert failing(operations.getxattr, "/e", "user.none") == errno.ENODATA
    assert failing(operations.chmod, None, 0o600) == errno.ESTALE
    assert failing(lambda: list(operations.readdir("/", 99))) == errno.ESTALE


def test_folders_are_listed_from_any_offset(operations: FusepyOperations) -> None:
    fh = operations.opendir("/a")
    whole = list(operations.readdir_with_offset("/a", 0, fh))
    assert {name for name, _, _ in whole} == {".", "..", "b", "d"}
    for at, (_, _, offset) in enumerate(whole):
        assert list(operations.readdir_with_offset(None, offset, fh)) == whole[at + 1 :]
    assert [(name, 0) for name, _, _ in whole] == [
        (name, offset) for name, _, offset in operations.readdir("/a", fh)
    ]
    assert operations.releasedir(None, fh) == 0


def test_names_are_any_bytes(operations: FusepyOperations, backend: MemoryBackend) -> None:
    fi = info(os.O_RDWR)
    operations.create("/n\xff\xe4", stat.S_IFREG | 0o644, fi)
    operations.write(None, b"1", 0, fi)
    operations.flush(None, fi)
    operations.release(None, fi)
    assert backend.get(Key(os.fsdecode(b"n\xff\xe4"))) == b"1"


def test_times_now_and_left_alone(operations: FusepyOperations) -> None:
    operations.utimens("/e", (5, 7))
    operations.utimens("/e", (UTIME_OMIT, 9))
    shown = operations.getattr("/e")
    assert (shown["st_atime"], shown["st_mtime"]) == (5, 9)
    operations.utimens("/e", (UTIME_NOW, UTIME_OMIT))
    shown = operations.getattr("/e")
    assert shown["st_mtime"] == 9
    assert shown["st_atime"] > 10**18
    operations.chown("/e", -1, 3)
    assert (operations.getattr("/e")["st_uid"], operations.getattr("/e")["st_gid"]) == (
        os.getuid(),
        3,
    )


def test_renamed_folders_keep_no_old_paths(operations: FusepyOperations) -> None:
    operations.access("/a/b/c", os.R_OK)
    operations.rename("/a", "/z")
    assert failing(operations.access, "/a/b/c", os.R_OK) == errno.ENOENT
    assert operations.getattr("/z/b/c")["st_size"] == 5
    assert failing(operations.rename, "/e", "/z/d", 1) == errno.EEXIST
    operations.rename("/e", "/z/d", 2)
    assert operations.getattr("/z/d")["st_size"] == 1
    assert operations.getattr("/e")["st_size"] == 3


def test_an_open_file_outlives_its_name(operations: FusepyOperations, vfs: CountingVfs) -> None:
    fi = info(os.O_RDWR)
    operations.open("/e", fi)
    operations.unlink("/e")
    assert failing(operations.getattr, "/e") == errno.ENOENT
    assert operations.write(None, b"more", 1, fi) == 4
    operations.truncate(None, 3, fi)
    assert operations.read(None, 10, 0, fi) == b"emo"
    operations.release(None, fi)
    operations.close()
    assert vfs.held() == 0


HIDDEN = "/a/.fuse_hidden0000000300000001"


def test_a_removed_open_file_keeps_a_hidden_name_of_its_own(
    operations: FusepyOperations, vfs: CountingVfs
) -> None:
    """libfuse's way to unlink an open file, callback by callback."""
    fi = info()
    operations.open("/a/d", fi)
    assert failing(operations.getattr, HIDDEN) == errno.ENOENT
    operations.rename("/a/d", HIDDEN)
    assert failing(operations.getattr, "/a/d") == errno.ENOENT
    listed = operations.readdir("/a", operations.opendir("/a"))
    assert {name for name, _, _ in listed} == {".", "..", "b"}
    assert operations.getattr(HIDDEN)["st_nlink"] == 0
    operations.chmod(HIDDEN, 0o600)
    assert operations.getattr(None, fi)["st_mode"] & 0o777 == 0o600
    operations.release(None, fi)
    operations.unlink(HIDDEN)
    assert failing(operations.getattr, HIDDEN) == errno.ENOENT
    operations.close()
    assert vfs.held() == 0


def test_a_replaced_open_file_is_never_absent(
    operations: FusepyOperations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libfuse's way to replace one: who looks in between waits, and finds the new one."""
    monkeypatch.setattr(fusepy_departures, "_PATIENCE_S", 60.0)
    fi, new = info(), operations.getattr("/e")["st_ino"]
    operations.open("/a/d", fi)
    operations.rename("/a/d", HIDDEN)
    seen: list[int] = []
    looker = threading.Thread(target=lambda: seen.append(operations.getattr("/a/d")["st_ino"]))
    looker.start()
    operations.rename("/e", "/a/d")
    looker.join()
    assert seen == [new]
    assert operations.read(None, 10, 0, fi) == b"a/d"
    assert operations.getattr(HIDDEN)["st_nlink"] == 0
    operations.release(None, fi)
    operations.unlink(HIDDEN)


def test_who_hides_and_does_nothing_more_has_unlinked(operations: FusepyOperations) -> None:
    fi = info()
    operations.open("/a/d", fi)
    hider = threading.Thread(target=operations.rename, args=["/a/d", HIDDEN])
    hider.start()
    hider.join()
    assert failing(operations.getattr, "/a/d") == errno.ENOENT
    operations.release(None, fi)


def test_a_users_own_name_is_not_libfuses(operations: FusepyOperations) -> None:
    operations.rename("/a/d", HIDDEN)
    assert operations.getattr(HIDDEN)["st_nlink"] == 1
    assert failing(operations.getattr, "/a/d") == errno.ENOENT


def test_changes_by_storage_are_seen_at_once(
    operations: FusepyOperations, backend: MemoryBackend
) -> None:
    assert operations.access("/a/d", os.R_OK) == 0
    Storage(backend).backend.delete(Key("a/d"))
    assert failing(operations.access, "/a/d", os.R_OK) == errno.ENOENT


def test_the_memory_of_paths_is_bounded(vfs: CountingVfs, backend: MemoryBackend) -> None:
    for number in range(50):
        backend.set(Key(f"many/{number}"), b"")
    paths = Paths(vfs, capacity=10, timeout_s=3600)
    for number in range(50):
        paths.unpin(paths.pin(CALLER, b"/many/%d" % number))
    assert vfs.held() <= 10
    paths.clear()
    assert vfs.held() == 0


def test_a_pinned_node_outlives_being_forgotten(vfs: CountingVfs) -> None:
    paths = Paths(vfs, capacity=1, timeout_s=3600)
    pinned = paths.pin(CALLER, b"/a/d")
    paths.unpin(paths.pin(CALLER, b"/e"))
    assert vfs.references[pinned.nodeid] == 1
    paths.unpin(pinned)
    assert vfs.references[pinned.nodeid] == 0
    assert paths.pin(CALLER, b"/").nodeid == ROOT


def test_a_path_is_asked_again_when_its_time_is_up_or_something_changed(
    vfs: CountingVfs,
) -> None:
    lasting, passing = (Paths(vfs, capacity=9, timeout_s=t) for t in (3600, 0))
    for paths, expected in ((lasting, [b"e"]), (passing, [b"e", b"e"])):
        vfs.lookups.clear()
        for _ in range(2):
            paths.unpin(paths.pin(CALLER, b"/e"))
        assert vfs.lookups == expected
    vfs.lookups.clear()
    lasting.on_change(Change(ROOT, b"other", None))
    lasting.unpin(lasting.pin(CALLER, b"/e"))
    assert vfs.lookups == [b"e"]


def test_threads_share_the_memory_of_paths(vfs: CountingVfs, backend: MemoryBackend) -> None:
    paths = Paths(vfs, capacity=3, timeout_s=3600)
    failures: list[BaseException] = []

    def use(seed: int) -> None:
        try:
            for turn in range(200):
                path = (b"/a/b/c", b"/a/d", b"/e", b"/a/b")[(seed + turn * 7) % 4]
                pinned = paths.pin(CALLER, path)
                if turn % 10 == 0:
                    paths.drop(b"/a")
                vfs.getattr(CALLER, pinned.nodeid, None)
                paths.unpin(pinned)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=use, args=[seed]) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    paths.clear()
