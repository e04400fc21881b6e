"""A directory tree goes on where a predecessor was killed, at each step of a change."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from zarrfs.storage.directory import DirectoryTree
from zarrfs.storage.directory.folders import RootFolder
from zarrfs.storage.directory.survival import Survival
from zarrfs.storage.tree import ROOT, Entry, NodeId, Owner

ME = Owner(os.geteuid(), os.getegid())
FOLDER, FILE = 0o40755, 0o100644


class Keeper:
    """Keeps copies of descriptors, as a supervisor does."""

    def __init__(self) -> None:
        self.kept: dict[str, int] = {}

    @property
    def names(self) -> Mapping[str, int]:
        return self.kept

    def keep(self, name: str, descriptor: int) -> None:
        self.forget(name)
        self.kept[name] = os.dup(descriptor)

    def forget(self, name: str) -> None:
        if (descriptor := self.kept.pop(name, None)) is not None:
            os.close(descriptor)


class Processes:
    """One serving process after the other, on one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.keeper = Keeper()
        self.all: list[DirectoryTree] = []

    def successor(self) -> DirectoryTree:
        tree = DirectoryTree(RootFolder(str(self.root), follow_symlinks=False))
        tree.survive(Survival(self.keeper))
        tree.nodes.check_invariants()
        self.all.append(tree)
        return tree


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    (tmp_path / "store").mkdir()
    processes = Processes(tmp_path / "store")
    yield processes
    for tree in processes.all:
        tree.close()
    for name in list(processes.keeper.kept):
        processes.keeper.forget(name)


def made(tree: DirectoryTree, name: bytes, mode: int) -> Entry:
    return tree.make(ROOT, name, mode, ME)


@pytest.mark.parametrize("mode", [FOLDER, FILE])
def test_what_was_removed_but_not_noted_is_another_node_when_made_anew(
    processes: Processes, mode: int
) -> None:
    """ext4 gives the number of a removed inode to the next one."""
    first = made(processes.successor(), b"x", mode)
    path = processes.root / "x"
    path.rmdir() if mode == FOLDER else path.unlink()
    tree = processes.successor()
    with pytest.raises(FileNotFoundError):  # and the request log takes it for done
        tree.remove_dir(ROOT, b"x") if mode == FOLDER else tree.unlink(ROOT, b"x")
    assert tree.nodes.at(ROOT, b"x") is None
    os.close(os.open(processes.root / "kept", os.O_CREAT))
    assert made(tree, b"y", mode).nodeid != first.nodeid
    tree.nodes.check_invariants()


@pytest.mark.parametrize("noted_since", [0, 3])
def test_a_rename_that_was_done_but_not_noted(processes: Processes, noted_since: int) -> None:
    """Other threads may have noted something since it was begun."""
    first = processes.successor()
    moved, replaced = made(first, b"a", FILE), made(first, b"b", FILE)
    first.nodes.about_to_rename((ROOT, b"a"), (ROOT, b"b"))
    with (processes.root / "b").open():  # as `rename` holds what it replaces
        os.rename(processes.root / "a", processes.root / "b")
        for number in range(noted_since):
            made(first, b"other%d" % number, FILE)
    tree = processes.successor()
    assert tree.key_of(moved.nodeid) == "b"
    assert tree.key_of(replaced.nodeid) is None
    assert tree.lookup(ROOT, b"b").nodeid == moved.nodeid


def test_a_rename_that_was_not_done(processes: Processes) -> None:
    first = processes.successor()
    nodes = [made(first, name, FILE).nodeid for name in (b"a", b"b")]
    first.nodes.about_to_rename((ROOT, b"a"), (ROOT, b"b"))
    tree = processes.successor()
    assert keys_of(tree, nodes) == ["a", "b"]


def test_an_exchange_that_was_done_but_not_noted(processes: Processes) -> None:
    first = processes.successor()
    nodes = [made(first, b"a", FOLDER).nodeid, made(first, b"b", FILE).nodeid]
    first.nodes.about_to_rename((ROOT, b"a"), (ROOT, b"b"))
    for old, new in (("a", "c"), ("b", "a"), ("c", "b")):
        os.rename(processes.root / old, processes.root / new)
    assert keys_of(processes.successor(), nodes) == ["b", "a"]


def keys_of(tree: DirectoryTree, nodes: list[NodeId]) -> list[str | None]:
    return [tree.key_of(nodeid) for nodeid in nodes]


def test_a_lost_identity_stays_lost_in_a_compacted_log(processes: Processes) -> None:
    """A file that is open and unlinked must not come back as the next of its number."""
    first = processes.successor()
    gone = made(first, b"gone", FILE)
    identity = first.nodes.get(gone.nodeid).identity
    first.unlink(ROOT, b"gone")
    for number in range(2000):
        first.forget(made(first, b"n%d" % number, FILE).nodeid, 1)
        first.unlink(ROOT, b"n%d" % number)
    tree = processes.successor()
    assert tree.nodes.get(gone.nodeid).identity == identity
    assert tree.nodes._by_identity.get(identity) is None
    size_bytes = os.fstat(processes.keeper.kept["nodes"]).st_size
    assert size_bytes <= 1 << 20, "the log was compacted"
