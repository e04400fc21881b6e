"""The memory store: a backend as every other, and one that survives its process."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.suites.backend_suite import BackendSuite
from zarrfs.errors import CannotOpenMemoryError, CorruptError, KeyNotFoundError, NoSpaceError
from zarrfs.storage.backend import Backend, HasFileTree, Key
from zarrfs.storage.inodes.tree import InodeTree
from zarrfs.storage.memory import MemoryBackend
from zarrfs.storage.tree import ROOT, Change, NodeId, Owner, Watchable

OWNER = Owner(1000, 1000)


class TestMemoryBackend(BackendSuite):
    def make(self, folder: Path) -> Backend:
        return MemoryBackend.init(None)


@pytest.fixture
def backend() -> Iterator[MemoryBackend]:
    backend = MemoryBackend()
    yield backend
    backend.close()


def tree_of(backend: MemoryBackend) -> InodeTree:
    tree = backend.file_tree()
    assert isinstance(tree, InodeTree)
    return tree


def test_has_nothing_to_open() -> None:
    with pytest.raises(CannotOpenMemoryError):
        MemoryBackend.open("/some/path", read_only=True)
    assert not MemoryBackend.recognises("/")


def test_files_and_keys_are_one_truth(backend: MemoryBackend) -> None:
    tree = tree_of(backend)
    assert isinstance(backend, HasFileTree)
    backend.set(Key("a/c/0"), b"from python")
    folder = tree.lookup(tree.lookup(ROOT, b"a").nodeid, b"c").nodeid
    file = tree.lookup(folder, b"0")
    assert file.attr.size == 11
    assert bytes(tree.read_node(file.nodeid, 0, 100)) == b"from python"
    assert tree.key_of(file.nodeid) == "a/c/0"

    with_handle = tree.open(file.nodeid, os.O_WRONLY | os.O_TRUNC)
    with_handle.write(0, b"from a file")
    with_handle.close()
    assert backend.get(Key("a/c/0")) == b"from a file"
    assert backend.stat(Key("a/c/0")).mtime_ns == tree.attr(file.nodeid).mtime_ns


def test_open_file_sees_a_value_set_meanwhile_and_survives_its_deletion(
    backend: MemoryBackend,
) -> None:
    tree = tree_of(backend)
    backend.set(Key("k"), b"one")
    opened = tree.open(tree.lookup(ROOT, b"k").nodeid, os.O_RDONLY)
    backend.set(Key("k"), b"second")
    assert bytes(opened.read(0, 100)) == b"second"
    backend.delete(Key("k"))
    assert bytes(opened.read(0, 100)) == b"second"
    opened.close()


def test_changes_made_by_key_are_told(backend: MemoryBackend) -> None:
    tree = tree_of(backend)
    assert isinstance(tree, Watchable)
    told: list[Change] = []
    tree.watch(told.append)
    backend.set(Key("a/k"), b"1")
    a = tree.lookup(ROOT, b"a").nodeid
    k = tree.lookup(a, b"k").nodeid
    assert told == [Change(ROOT, b"a", a), Change(a, b"k", k)]
    told.clear()
    backend.set(Key("a/k"), b"2")
    assert told == [Change(None, b"", k)]
    told.clear()
    backend.delete(Key("a/k"))
    assert told == [Change(a, b"k", k), Change(ROOT, b"a", a)]


def test_changes_made_by_file_are_not_told(backend: MemoryBackend) -> None:
    tree = tree_of(backend)
    told: list[Change] = []
    tree.watch(told.append)
    _, opened = tree.create(ROOT, b"f", 0o644, OWNER, os.O_WRONLY)
    opened.write(0, b"x")
    opened.close()
    tree.unlink(ROOT, b"f")
    assert told == []


def test_a_held_value_is_not_changed_by_later_writes(backend: MemoryBackend) -> None:
    backend.set(Key("k"), b"a" * 100_000)
    held = backend.get(Key("k"))
    for byte in (b"b", b"c"):
        backend.set(Key("k"), byte * 20_000_000)
    assert held == b"a" * 100_000


def test_limit_is_kept_and_deleting_helps() -> None:
    backend = MemoryBackend(size_limit_bytes=4 << 20)
    try:
        backend.set(Key("a"), bytes(2 << 20))
        with pytest.raises(NoSpaceError):
            backend.set(Key("b"), bytes(3 << 20))
        with pytest.raises(NoSpaceError):
            backend.set(Key("a"), bytes(3 << 20))
        assert backend.get(Key("a")) == bytes(2 << 20)
        assert tree_of(backend).statfs().blocks == (4 << 20) // 4096
        backend.delete(Key("a"))
        backend.set(Key("b"), bytes(3 << 20))
        assert len(backend.get(Key("b"))) == 3 << 20
    finally:
        backend.close()


def test_limit_stops_empty_files_too_but_not_their_deletion() -> None:
    backend = MemoryBackend(size_limit_bytes=1 << 20)
    tree = tree_of(backend)
    try:
        made = 0
        with pytest.raises(NoSpaceError):
            for made in range(1_000_000):
                tree.make(ROOT, b"%d" % made, stat.S_IFREG | 0o644, OWNER)
        assert made > 1000
        for number in range(made):
            tree.unlink(ROOT, b"%d" % number)
        assert tree.list_dir(ROOT) == []
    finally:
        backend.close()


def test_memory_of_overwritten_and_deleted_values_is_given_back(backend: MemoryBackend) -> None:
    for round_ in range(40):
        backend.set(Key(f"k{round_ % 2}"), bytes([round_]) * (2 << 20))
    assert os.fstat(backend.fileno()).st_blocks * 512 < 24 << 20
    backend.delete(Key("k0"))
    backend.delete(Key("k1"))
    tree_of(backend).ledger.space.reclaim()
    assert os.fstat(backend.fileno()).st_blocks * 512 < 1 << 20


WRITER = """
import itertools, os, sys
from zarrfs.storage.memory import MemoryBackend
from zarrfs.storage.tree import ROOT, Owner
backend = MemoryBackend.from_memfd(int(sys.argv[1]))
tree = backend.file_tree()
entry, opened = tree.create(ROOT, b"kept", 0o640, Owner(1000, 1000), os.O_WRONLY)
opened.write(0, b"all of it")
opened.close()
tree.set_xattr(entry.nodeid, b"user.note", b"yes", 0)
for number in itertools.count():
    backend.set(f"n/{number}", bytes(70_000))
    if number == 50:
        print("going on", flush=True)
    if number >= 100:
        backend.delete(f"n/{number - 100}")
"""


def test_a_successor_of_a_killed_process_has_everything() -> None:
    backend = MemoryBackend()
    fd = os.dup(backend.fileno())
    backend.close()
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(fd)], pass_fds=[fd], stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"going on\n"
        writer.kill()

    successor = MemoryBackend.from_memfd(fd)
    try:
        tree = tree_of(successor)
        kept = tree.lookup(ROOT, b"kept")
        assert bytes(tree.read_node(kept.nodeid, 0, 100)) == b"all of it"
        assert kept.attr.mode == stat.S_IFREG | 0o640
        assert tree.get_xattr(kept.nodeid, b"user.note") == b"yes"
        assert successor.get(Key("kept")) == b"all of it"
        numbered = list(successor.list_keys(Key("n")))
        assert len(numbered) >= 50
        for key in numbered:
            assert len(successor.get(key)) == 70_000
        successor.set(Key("n/more"), b"goes on")
        assert successor.get(Key("n/more")) == b"goes on"
    finally:
        successor.close()


def test_nodeids_handles_and_nameless_files_pass_to_a_successor() -> None:
    backend = MemoryBackend()
    tree = tree_of(backend)
    entry, opened = tree.create(ROOT, b"gone", 0o600, OWNER, os.O_RDWR)
    opened.write(0, b"nameless")
    tree.unlink(ROOT, b"gone")
    successor = MemoryBackend.from_memfd(os.dup(backend.fileno()))
    try:
        again = tree_of(successor)
        assert again.attr(entry.nodeid).nlink == 0
        reopened = again.open(entry.nodeid, os.O_RDWR)
        assert bytes(reopened.read(0, 100)) == b"nameless"
        reopened.close()
        assert again.attr(entry.nodeid).size == 8  # the kernel still refers to it
        again.forget(entry.nodeid, 1)
        assert entry.nodeid not in again.ledger.state.nodes
        assert again.make(ROOT, b"new", stat.S_IFREG, OWNER).nodeid == NodeId(entry.nodeid + 1)
    finally:
        successor.close()
        backend.close()


def test_what_is_no_journal_is_refused() -> None:
    fd = os.memfd_create("other")
    try:
        with pytest.raises(CorruptError):
            MemoryBackend.from_memfd(fd)
    finally:
        os.close(fd)


def test_a_file_becomes_a_key_only_when_it_is_closed(backend: MemoryBackend) -> None:
    tree = tree_of(backend)
    _, opened = tree.create(ROOT, b"k", 0o644, OWNER, os.O_WRONLY)
    opened.write(0, b"half")
    with pytest.raises(KeyNotFoundError):
        backend.get(Key("k"))
    assert list(backend.list_keys(Key(""))) == []
    opened.write(4, b" and half")
    opened.close()
    assert backend.get(Key("k")) == b"half and half"
