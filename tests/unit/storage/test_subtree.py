"""One folder of a tree as a tree of its own (`-o root=`)."""

from __future__ import annotations

import stat
from collections.abc import Iterator

import pytest

from zarrfs.errors import NotAFolderError, PathNotFoundError
from zarrfs.storage import Key
from zarrfs.storage.memory import MemoryBackend
from zarrfs.storage.subtree import subtree
from zarrfs.storage.tree import (
    ROOT,
    AttrChange,
    Change,
    CreatesOpen,
    ListsEntries,
    Owner,
    StatelessReads,
    Watchable,
)

OWNER = Owner(0, 0)


@pytest.fixture
def backend() -> Iterator[MemoryBackend]:
    store = MemoryBackend()
    for key in ("a/b/c", "a/b/d/e", "other"):
        store.set(Key(key), key.encode())
    yield store
    store.close()


def test_only_the_folder_is_shown(backend: MemoryBackend) -> None:
    tree = subtree(backend.file_tree(), "a/b")
    assert {entry.name for entry in tree.list_dir(ROOT)} == {b"c", b"d"}
    folder = tree.lookup(ROOT, b"d")
    found = tree.lookup(folder.nodeid, b"e")
    assert tree.key_of(ROOT) == ""
    assert tree.key_of(found.nodeid) == "d/e"
    assert stat.S_ISDIR(tree.attr(ROOT).mode)


def test_changes_arrive_in_the_store(backend: MemoryBackend) -> None:
    tree = subtree(backend.file_tree(), "a/b")
    made = tree.make(ROOT, b"new", stat.S_IFDIR | 0o755, OWNER)
    tree.rename(ROOT, b"c", made.nodeid, b"moved", 0)
    tree.unlink(tree.lookup(ROOT, b"d").nodeid, b"e")
    tree.remove_dir(ROOT, b"d")
    tree.set_attr(ROOT, AttrChange(mode=0o700))
    assert set(backend.list_keys(Key(""))) == {"a/b/new/moved", "other"}
    whole = backend.file_tree()
    folder = whole.lookup(whole.lookup(ROOT, b"a").nodeid, b"b")
    assert stat.S_IMODE(folder.attr.mode) == 0o700


def test_it_can_what_the_tree_beneath_can(backend: MemoryBackend) -> None:
    whole = backend.file_tree()
    tree = subtree(whole, "a/b")
    for ability in (StatelessReads, ListsEntries, Watchable, CreatesOpen):
        assert isinstance(tree, ability) == isinstance(whole, ability)
    if isinstance(tree, ListsEntries):
        assert {name for name, _ in tree.list_entries(ROOT, 0)} == {b"c", b"d"}


def test_what_changes_is_told_in_terms_of_the_new_root(backend: MemoryBackend) -> None:
    tree = subtree(backend.file_tree(), "a/b")
    told: list[Change] = []
    assert isinstance(tree, Watchable)
    tree.watch(told.append)
    backend.delete(Key("a/b/c"))
    assert any(change.parent == ROOT and change.name == b"c" for change in told)


def test_paths_that_lead_nowhere(backend: MemoryBackend) -> None:
    whole = backend.file_tree()
    assert subtree(whole, "") is whole
    with pytest.raises(PathNotFoundError):
        subtree(whole, "a/none")
    with pytest.raises(NotAFolderError):
        subtree(whole, "a/b/c")
