"""The directory tree: which node a file is, and that nothing outside is reached."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zarrfs.errors import StaleError, ZarrfsError
from zarrfs.storage.backend import Key
from zarrfs.storage.directory import DirectoryBackend, DirectoryTree, syscalls
from zarrfs.storage.directory.node_table import NodeTable
from zarrfs.storage.tree import ROOT, AttrChange, NodeId, Owner

ME = Owner(os.geteuid(), os.getegid())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


@pytest.fixture
def tree(root: Path) -> Iterator[DirectoryTree]:
    backend = DirectoryBackend(str(root))
    yield backend.file_tree()
    backend.file_tree().nodes.check_invariants()
    backend.close()


def test_hard_links_are_one_node(tree: DirectoryTree, root: Path) -> None:
    (root / "a").write_bytes(b"1")
    os.link(root / "a", root / "b")
    one, other = tree.lookup(ROOT, b"a"), tree.lookup(ROOT, b"b")
    assert one.nodeid == other.nodeid
    tree.unlink(ROOT, b"a")
    assert tree.attr(one.nodeid).nlink == 1
    assert tree.key_of(one.nodeid) == "b"
    file = tree.open(one.nodeid, os.O_RDONLY)
    assert file.read(0, 9) == b"1"
    file.close()


def test_a_node_keeps_its_number_when_a_folder_above_is_renamed(
    tree: DirectoryTree, root: Path
) -> None:
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "b" / "f").write_bytes(b"1")
    a = tree.lookup(ROOT, b"a").nodeid
    b = tree.lookup(a, b"b").nodeid
    f = tree.lookup(b, b"f").nodeid
    tree.rename(ROOT, b"a", ROOT, b"z", 0)
    assert tree.key_of(f) == "z/b/f"
    assert tree.attr(f).size == 1
    assert tree.lookup(ROOT, b"z").nodeid == a


def test_a_reused_inode_number_is_another_node(tree: DirectoryTree, root: Path) -> None:
    (root / "a").write_bytes(b"1")
    first = tree.lookup(ROOT, b"a").nodeid
    tree.unlink(ROOT, b"a")
    entry, file = tree.create(ROOT, b"a", 0o100644, ME, os.O_RDWR)
    file.close()
    assert entry.nodeid != first


def test_what_is_gone_is_stale(tree: DirectoryTree, root: Path) -> None:
    (root / "a").write_bytes(b"1")
    nodeid = tree.lookup(ROOT, b"a").nodeid
    os.unlink(root / "a")
    (root / "other").write_bytes(b"")  # so that the inode number is in use
    os.rename(root / "other", root / "a")
    if os.stat(root / "a").st_ino != tree.nodes.get(nodeid).identity[1]:
        with pytest.raises(StaleError):
            tree.attr(nodeid)
    with pytest.raises(StaleError):
        tree.attr(NodeId(9999))


def test_forgetting_empties_the_table(tree: DirectoryTree, root: Path) -> None:
    (root / "a" / "b").mkdir(parents=True)
    a = tree.lookup(ROOT, b"a").nodeid
    b = tree.lookup(a, b"b").nodeid
    tree.lookup(a, b"b")
    tree.forget(a, 1)
    assert tree.key_of(b) == "a/b"  # a node needs those above it
    tree.forget(b, 2)
    assert len(tree.nodes) == 1


def test_a_folder_swapped_for_a_link_leads_nowhere(
    tree: DirectoryTree, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "f").write_bytes(b"secret")
    (root / "d").mkdir()
    d = tree.lookup(ROOT, b"d").nodeid
    os.rmdir(root / "d")
    os.symlink("../outside", root / "d")
    for call in (
        lambda: tree.lookup(d, b"f"),
        lambda: tree.list_dir(d),
        lambda: tree.create(d, b"g", 0o100644, ME, os.O_RDWR),
        lambda: tree.unlink(d, b"f"),
    ):
        with pytest.raises((StaleError, OSError)):
            call()
    assert os.listdir(tmp_path / "outside") == ["f"]


def test_a_file_swapped_for_a_link_is_not_opened(
    tree: DirectoryTree, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (root / "f").write_bytes(b"1")
    f = tree.lookup(ROOT, b"f").nodeid
    os.unlink(root / "f")
    os.symlink("../secret", root / "f")
    for call in (
        lambda: tree.open(f, os.O_RDWR),
        lambda: tree.set_attr(f, AttrChange(mode=0o777, size=0)),
    ):
        with pytest.raises((StaleError, OSError)):
            call()
    assert (tmp_path / "secret").read_bytes() == b"secret"


def test_changing_a_link_changes_the_link(tree: DirectoryTree, root: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"1")
    os.utime(tmp_path / "outside", (5, 5))
    os.symlink("../outside", root / "link")
    link = tree.lookup(ROOT, b"link").nodeid
    assert tree.read_link(link) == b"../outside"
    assert tree.set_attr(link, AttrChange(mtime_ns=7_000_000_000)).mtime_ns == 7_000_000_000
    if os.geteuid() == 0:
        assert tree.set_attr(link, AttrChange(uid=12)).uid == 12
    outside = os.stat(tmp_path / "outside")
    assert (outside.st_mtime, outside.st_uid) == (5, os.geteuid())


def test_racing_swaps_never_lead_outside(tree: DirectoryTree, root: Path, tmp_path: Path) -> None:
    """A folder becomes a link and a folder again while it is used."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "f").write_bytes(b"secret")
    (root / "real").mkdir()
    (root / "real" / "f").write_bytes(b"inside")
    os.symlink("../outside", root / "link")
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            syscalls.renameat2(
                -100, os.fsencode(root / "real"), -100, os.fsencode(root / "link"), 2
            )

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for _ in range(300):
            try:
                d = tree.lookup(ROOT, b"real").nodeid
                f = tree.lookup(d, b"f").nodeid
                file = tree.open(f, os.O_RDONLY)
            except (StaleError, OSError):
                continue
            assert file.read(0, 99) == b"inside"
            file.close()
    finally:
        done.set()
        swapper.join()
    assert (tmp_path / "outside" / "f").read_bytes() == b"secret"


def test_without_openat2_paths_are_walked(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fallback of kernels before 5.6, and of sandboxes that forbid the call."""

    def missing(*_: object) -> int:
        raise OSError(38, "no openat2")

    monkeypatch.setattr(syscalls, "openat2", missing)
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "b" / "f").write_bytes(b"1")
    os.symlink("b", root / "a" / "link")
    backend = DirectoryBackend(str(root))
    tree = backend.file_tree()
    a = tree.lookup(ROOT, b"a").nodeid
    b = tree.lookup(a, b"b").nodeid
    assert [entry.name for entry in tree.list_dir(b)] == [b"f"]
    assert bytes(backend.get(Key("a/b/f"))) == b"1"
    with pytest.raises(ZarrfsError):
        backend.get(Key("a/link/f"))
    backend.close()


def test_more_folders_than_descriptors_are_kept(tree: DirectoryTree, root: Path) -> None:
    for n in range(300):
        (root / str(n)).mkdir()
        (root / str(n) / "f").write_bytes(b"%d" % n)
    folders = [tree.lookup(ROOT, b"%d" % n).nodeid for n in range(300)]
    for _ in range(2):
        for n, folder in enumerate(folders):
            assert tree.lookup(folder, b"f").attr.size == len(str(n))


def test_descriptors_are_given_back(root: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    backend = DirectoryBackend(str(root))
    tree = backend.file_tree()
    for n in range(20):
        _, file = tree.create(ROOT, b"%d" % n, 0o100644, ME, os.O_RDWR)
        file.write(0, b"1")
        file.close()
        tree.list_dir(ROOT)
    backend.close()
    del backend, tree, file
    assert len(os.listdir("/proc/self/fd")) <= before


PLACES = st.tuples(st.integers(0, 3), st.sampled_from([b"a", b"b", b"c"]))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("found"), PLACES, st.integers(10, 14)),
        st.tuples(st.just("forget"), st.integers(0, 5), st.integers(1, 2)),
        st.tuples(st.just("unlinked"), PLACES, st.booleans()),
        st.tuples(st.just("renamed"), PLACES, PLACES, st.booleans()),
    ),
    max_size=40,
)


def status(ino: int) -> os.stat_result:
    return os.stat_result((0o040755, ino, 1, 2, 0, 0, 0, 0, 0, 0))


@given(STEPS)
def test_the_table_stays_consistent(steps: list[tuple[object, ...]]) -> None:
    table = NodeTable(status(1))
    known: list[NodeId] = [ROOT]

    def place(chosen: object) -> tuple[NodeId, bytes]:
        assert isinstance(chosen, tuple)
        return known[chosen[0] % len(known)], chosen[1]

    for step in steps:
        match step:
            case ("found", where, int(ino)):
                parent, name = place(where)
                if parent in table:
                    known.append(table.found(parent, name, status(ino)))
            case ("forget", int(which), int(count)):
                nodeid = known[which % len(known)]
                if nodeid in table and table.get(nodeid).references >= count:
                    table.forget(nodeid, count)
            case ("unlinked", where, bool(last)):
                table.unlinked(*place(where), last=last)
            case ("renamed", old, new, bool(exchange)):
                if place(new)[0] in table and place(old)[0] in table:
                    table.renamed(place(old), place(new), exchange=exchange, last=False)
        table.check_invariants()
