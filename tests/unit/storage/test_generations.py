"""Several states of a store as one tree."""

from __future__ import annotations

import errno
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from zarrfs.errors import PathNotFoundError, StaleError
from zarrfs.storage import Key
from zarrfs.storage.generations import GenerationTree
from zarrfs.storage.memory import MemoryBackend
from zarrfs.storage.subtree import subtree
from zarrfs.storage.tree import (
    NODEID_BITS,
    ROOT,
    Change,
    ChangesUnderneath,
    CreatesOpen,
    ExpectsReads,
    FileTree,
    ListsColumns,
    ListsEntries,
    NodeId,
    Owner,
    StatelessReads,
    Watchable,
)
from zarrfs.storage.zip.backend import ZipBackend
from zarrfs.vfs.cache_policy import choose_policy
from zarrfs.vfs.key_tree import KeyTree
from zarrfs.vfs.options import VfsOptions

OWNER = Owner(0, 0)
OLD, NEW = 0, 3


class Stores:
    """Two states of a store: `a/b` and a file of each one's own."""

    def __init__(self) -> None:
        self.old, self.new = MemoryBackend(), MemoryBackend()
        for store, mark in ((self.old, b"old"), (self.new, b"new")):
            store.set(Key("a/b"), mark)
            store.set(Key(mark.decode()), mark)
        self.old_file = self.walk(self.old.file_tree(), "a/b")
        self.old_folder = self.walk(self.old.file_tree(), "a")
        self.tree = GenerationTree(NEW, {OLD: self.old.file_tree(), NEW: self.new.file_tree()}, {})

    @staticmethod
    def walk(tree: FileTree, path: str) -> NodeId:
        nodeid = ROOT
        for name in path.encode().split(b"/"):
            nodeid = tree.lookup(nodeid, name).nodeid
        return nodeid

    def read(self, nodeid: NodeId) -> bytes:
        file = self.tree.open(nodeid, os.O_RDONLY)
        try:
            return bytes(file.read(0, 100))
        finally:
            file.close()


@pytest.fixture
def stores() -> Iterator[Stores]:
    found = Stores()
    yield found
    found.tree.close()


def test_paths_lead_to_the_newest_and_nodes_stay_what_they_were(stores: Stores) -> None:
    assert {entry.name for entry in stores.tree.list_dir(ROOT)} == {b"a", b"new"}
    new_file = stores.walk(stores.tree, "a/b")
    assert new_file >> NODEID_BITS == NEW
    assert (stores.read(stores.old_file), stores.read(new_file)) == (b"old", b"new")
    assert stores.tree.attr(stores.old_file).ino != stores.tree.attr(new_file).ino
    assert [entry.name for entry in stores.tree.list_dir(stores.old_folder)] == [b"b"]
    assert stores.tree.key_of(new_file) == "a/b"
    assert stores.tree.key_of(stores.old_file) is None, "not shown any more"


def test_changes_stay_in_their_generation(stores: Stores) -> None:
    tree, new_folder = stores.tree, stores.walk(stores.tree, "a")
    for move in (
        lambda: tree.rename(stores.old_folder, b"b", new_folder, b"b", 0),
        lambda: tree.link(stores.old_file, new_folder, b"c"),
    ):
        with pytest.raises(OSError) as caught:
            move()
        assert caught.value.errno == errno.EXDEV
    assert isinstance(tree, CreatesOpen)
    entry, file = tree.create(stores.old_folder, b"c", 0o100644, OWNER, os.O_WRONLY)
    file.write(0, b"more")
    file.close()
    assert entry.nodeid >> NODEID_BITS == OLD
    tree.rename(stores.old_folder, b"c", stores.old_folder, b"d", 0)
    assert stores.old.get(Key("a/d")) == b"more"
    assert [listed.name for listed in stores.new.list_dir(Key("a"))] == ["b"]


def test_changes_are_told_under_the_nodeids_that_the_kernel_knows(stores: Stores) -> None:
    told: list[Change] = []
    new_folder = stores.walk(stores.tree, "a")
    stores.tree.watch(told.append)
    stores.new.set(Key("a/c"), b"")
    assert any((change.parent, change.name) == (new_folder, b"c") for change in told)
    stores.new.set(Key("more"), b"")
    assert any((change.parent, change.name) == (ROOT, b"more") for change in told)
    told.clear()
    stores.old.set(Key("old"), b"older")
    assert all(change.parent is None and change.nodeid != ROOT for change in told)
    told.clear()
    stores.tree.announce(OLD)
    names = {change.name for change in told if change.parent == ROOT}
    assert names == {b"a", b"old", b"new", b"more"}
    assert Change(None, b"", ROOT) in told


def test_it_has_the_abilities_of_its_trees_and_is_remembered_as_long(tmp_path: Path) -> None:
    memory = MemoryBackend()
    for inner in (
        memory.file_tree(),
        KeyTree(memory),
        archive(tmp_path, "1").file_tree(),
        subtree(archive(tmp_path, "2").file_tree(), "a"),
    ):
        tree = GenerationTree(1, {1: inner}, {})
        for ability in (CreatesOpen, StatelessReads, ListsEntries, ListsColumns):
            assert isinstance(tree, ability) == isinstance(inner, ability), (inner, ability)
        options = VfsOptions()
        assert choose_policy(tree, options, notified=True) == choose_policy(
            inner, options, notified=True
        )
        assert isinstance(tree, Watchable)
        assert isinstance(tree, ChangesUnderneath)
        inner.close()


def archive(folder: Path, mark: str) -> ZipBackend:
    path = folder / f"{mark}.zip"
    with zipfile.ZipFile(path, "w") as made:
        for key in ("a/b", "a/c", mark):
            made.writestr(key, mark)
    return ZipBackend.open(str(path), read_only=True)


def test_static_states_are_opened_when_something_of_theirs_is_wanted(tmp_path: Path) -> None:
    opened: list[str] = []

    def open_old() -> FileTree:
        opened.append("old")
        return archive(tmp_path, "old").file_tree()

    def gone() -> FileTree:
        raise PathNotFoundError("gone")

    new = archive(tmp_path, "new").file_tree()
    tree = GenerationTree(2, {2: new}, {0: open_old, 1: gone})
    folder = tree.lookup(ROOT, b"a").nodeid
    assert isinstance(tree, StatelessReads)
    assert isinstance(tree, ListsColumns)
    assert isinstance(tree, ListsEntries)
    assert isinstance(tree, ExpectsReads)
    old_file = NodeId(Stores.walk(archive(tmp_path, "old").file_tree(), "a/b"))
    tree.forget(old_file, 1)
    tree.expect_read(old_file)
    assert opened == []
    assert tree.read_node(old_file, 0, 10) == b"old"
    assert tree.read_node(tree.lookup(folder, b"b").nodeid, 0, 10) == b"new"
    for number in (1, 7):
        with pytest.raises(StaleError):
            tree.attr(NodeId(number << NODEID_BITS | 2))
    columns = tree.list_columns(folder, 0, 10)
    entries = dict(tree.list_entries(folder, 0))
    assert columns.nodeids.tolist() == [entry.nodeid for entry in entries.values()]
    assert opened == ["old"]
    tree.close()


def test_a_state_is_enumerated_located_and_dropped(stores: Stores, tmp_path: Path) -> None:
    new, old = archive(tmp_path, "new").file_tree(), archive(tmp_path, "old").file_tree()
    tree = GenerationTree(4, {4: new, 3: old}, {})
    known = list(tree.nodeids(3))
    names = {tree.place_of(nodeid) for nodeid in known}
    [folder] = [nodeid for nodeid in known if tree.attr(nodeid).mode & 0o40000]
    assert names == {None, (folder, b"b"), (folder, b"c")}
    tree.drop(3)
    with pytest.raises(StaleError):
        tree.attr(folder)
    tree.close()
    old.close()
