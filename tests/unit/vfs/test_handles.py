"""Handles: known ones, and those of a process that died."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

import pytest

from zarrfs.errors import StaleError
from zarrfs.storage.memory import MemoryBackend
from zarrfs.storage.tree import ROOT, FileTree, NodeId, Owner
from zarrfs.vfs.handles import FileSession, HandleTable
from zarrfs.vfs.operations import FileHandle


@pytest.fixture
def tree() -> Iterator[FileTree]:
    backend = MemoryBackend()
    yield backend.file_tree()
    backend.close()


@pytest.fixture
def nodeid(tree: FileTree) -> NodeId:
    return tree.make(ROOT, b"file", stat.S_IFREG | 0o644, Owner(0, 0)).nodeid


def open_in(table: HandleTable, tree: FileTree, nodeid: NodeId, flags: int) -> FileHandle:
    return table.add_file(FileSession(nodeid, tree.open(nodeid, flags), flags))


def test_a_successor_opens_again_what_was_open(tree: FileTree, nodeid: NodeId) -> None:
    first, second = HandleTable(tree.open), HandleTable(tree.open)
    handle = open_in(first, tree, nodeid, os.O_RDWR | os.O_APPEND)
    second.file(nodeid, handle).write(0, b"one")
    second.file(nodeid, handle).write(0, b"two")
    assert bytes(first.file(nodeid, handle).read(0, 9)) == b"onetwo"
    assert len(second) == 1
    for session in (*first.pop_all_files(), *second.pop_all_files()):
        session.file.close()


def test_numbers_of_a_successor_are_new(tree: FileTree, nodeid: NodeId) -> None:
    first = HandleTable(tree.open)
    given = [open_in(first, tree, nodeid, os.O_RDONLY) for _ in range(200)]
    second = HandleTable(tree.open)
    assert open_in(second, tree, nodeid, os.O_RDONLY) > max(given)
    for session in (*first.pop_all_files(), *second.pop_all_files()):
        session.file.close()


def test_without_a_way_to_open_an_unknown_handle_is_stale(nodeid: NodeId) -> None:
    with pytest.raises(StaleError):
        HandleTable().file(nodeid, FileHandle(1 << 20))
