"""The archive as a file tree: nodeids, names, attributes, listings."""

from __future__ import annotations

import errno
import os
import stat
import zipfile
from pathlib import Path

import pytest

from tests.unit.storage.zip.raw_zip import RawEntry, RawZip
from zarrfs.errors import (
    AttributeNotFoundError,
    CorruptError,
    InvalidArgumentError,
    IsAFolderError,
    NotAFolderError,
    NotFoundError,
    PathNotFoundError,
    ReadOnlyError,
    StaleError,
    UnknownBackendError,
)
from zarrfs.storage import registry
from zarrfs.storage.backend import Backend, HasFileTree, Key, Listed
from zarrfs.storage.tree import (
    ROOT,
    AttrChange,
    FileTree,
    ListsEntries,
    NodeId,
    Owner,
    StatelessReads,
)
from zarrfs.storage.zip.backend import ZipBackend
from zarrfs.storage.zip.base import ArchiveBase
from zarrfs.storage.zip.tree import ArchiveTree

ENTRIES = [
    RawEntry(b"zarr.json", b"{}"),
    RawEntry(b"t/c/0/1", b"chunk 0 1"),
    RawEntry(b"t/c/0/0", b"chunk 0 0"),
    RawEntry(b"t/zarr.json", b"{...}"),
    RawEntry(b"t/c/1/0", b"chunk 1 0"),
    RawEntry(b"empty/", mode=stat.S_IFDIR | 0o2750),
    RawEntry(b"link", b"t/zarr.json", mode=stat.S_IFLNK | 0o777),
    RawEntry(b"setuid", b"#!", mode=stat.S_IFREG | 0o4755),
    RawEntry(b"device", b"", mode=stat.S_IFCHR | 0o666),
]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return RawZip(ENTRIES).write(tmp_path / "a.zip")


@pytest.fixture
def backend(archive: Path) -> ZipBackend:
    return ZipBackend.open(str(archive), read_only=True, uid=7, gid=8)


def walk(tree: ArchiveTree, path: str) -> NodeId:
    nodeid = ROOT
    for name in filter(None, path.split("/")):
        nodeid = tree.lookup(nodeid, name.encode()).nodeid
    return nodeid


def names(tree: ArchiveTree, path: str) -> list[bytes]:
    return [item.name for item in tree.list_dir(walk(tree, path))]


def test_fulfils_the_protocols(backend: ZipBackend) -> None:
    assert isinstance(backend, Backend) and isinstance(backend, HasFileTree)
    tree: FileTree = backend.file_tree()
    assert isinstance(tree, StatelessReads) and isinstance(tree, ListsEntries)
    assert tree.static and tree.read_only and backend.static and backend.read_only
    backend.close()
    backend.close()


def test_folders_and_their_order(backend: ZipBackend) -> None:
    tree = backend.file_tree()
    assert names(tree, "") == [b"zarr.json", b"t", b"empty", b"link", b"setuid", b"device"]
    assert names(tree, "t") == [b"c", b"zarr.json"]
    assert names(tree, "t/c") == [b"0", b"1"]
    assert names(tree, "t/c/0") == [b"1", b"0"]
    assert names(tree, "empty") == []
    backend.close()


def test_nodeids_are_dense_and_the_same_each_time(archive: Path) -> None:
    seen = []
    for _ in range(2):
        backend = ZipBackend.open(str(archive), read_only=True)
        tree = backend.file_tree()
        paths = {tree.key_of(NodeId(nodeid)): nodeid for nodeid in range(1, tree.max_nodeid + 1)}
        assert len(paths) == tree.max_nodeid == 14
        assert all(walk(tree, path) == nodeid for path, nodeid in paths.items())
        seen.append(paths)
        backend.close()
    assert seen[0] == seen[1]


def test_listings_agree_with_lookups(backend: ZipBackend) -> None:
    tree = backend.file_tree()
    for path in ("", "t", "t/c", "t/c/0", "empty"):
        nodeid = walk(tree, path)
        listed = list(tree.list_dir(nodeid))
        entries = list(tree.list_entries(nodeid, 0))
        assert [(item.name, item.ino) for item in listed] == [
            (name, entry.attr.ino) for name, entry in entries
        ]
        assert [tree.lookup(nodeid, name) for name, _ in entries] == [entry for _, entry in entries]
        assert list(tree.list_entries(nodeid, 1)) == entries[1:]
        assert [stat.S_IFMT(entry.attr.mode) for _, entry in entries] == [
            item.type_bits for item in listed
        ]
        sequence = tree.list_dir(nodeid)
        assert [sequence[place] for place in range(len(sequence))] == listed
        assert list(sequence[1:]) == listed[1:] and list(sequence[::2]) == listed[::2]
        columns = tree.list_columns(nodeid, 1, 10)
        text = columns.text.tobytes()
        assert [
            (text[start : start + length], nodeid, mode, nlink, size, mtime_ns)
            for start, length, nodeid, mode, nlink, size, mtime_ns in zip(
                *(column.tolist() for column in columns[1:8]), strict=True
            )
        ] == [
            (name, entry.nodeid, attr.mode, attr.nlink, attr.size, attr.mtime_ns)
            for name, entry in entries[1:]
            for attr in [entry.attr]
        ]
        assert columns[8:10] == tree.attr(nodeid)[3:5]
        assert columns.folder_size == len(listed)
    backend.close()


def test_attributes(backend: ZipBackend, archive: Path) -> None:
    tree = backend.file_tree()
    root = tree.attr(ROOT)
    assert (root.ino, root.mode, root.nlink) == (1, stat.S_IFDIR | 0o755, 4)
    assert root.mtime_ns == archive.stat().st_mtime_ns
    chunk = tree.attr(walk(tree, "t/c/0/0"))
    assert (chunk.mode, chunk.size, chunk.blocks, chunk.nlink) == (stat.S_IFREG | 0o644, 9, 1, 1)
    assert (chunk.uid, chunk.gid) == (7, 8)
    modes = {name: tree.attr(walk(tree, name)).mode for name in ("empty", "setuid", "device")}
    assert modes == {
        "empty": stat.S_IFDIR | 0o750,
        "setuid": stat.S_IFREG | 0o755,
        "device": stat.S_IFREG | 0o666,
    }
    implied = tree.attr(walk(tree, "t/c"))
    assert (implied.mode, implied.nlink) == (stat.S_IFDIR | 0o755, 4)
    assert implied.mtime_ns == tree.attr(walk(tree, "t/c/0/1")).mtime_ns
    usage = tree.statfs()
    assert usage.blocks * usage.block_size >= archive.stat().st_size > 0 == usage.blocks_free
    backend.close()


def test_links(backend: ZipBackend) -> None:
    tree = backend.file_tree()
    link = tree.lookup(ROOT, b"link")
    assert stat.S_ISLNK(link.attr.mode) and link.attr.size == 11
    assert tree.read_link(link.nodeid) == b"t/zarr.json"
    with pytest.raises(InvalidArgumentError):
        tree.read_link(walk(tree, "zarr.json"))
    backend.close()


def test_reading(backend: ZipBackend) -> None:
    tree = backend.file_tree()
    nodeid = walk(tree, "t/c/0/1")
    assert tree.read_node(nodeid, 0, 100) == b"chunk 0 1"
    assert tree.read_node(nodeid, 6, 1) == b"0"
    assert tree.read_node(nodeid, 9, 10) == tree.read_node(nodeid, 1000, 10) == b""
    file = tree.open(nodeid, os.O_RDONLY)
    assert file.read(0, 5) == b"chunk" and file.fileno() is None
    assert file.seek(3, os.SEEK_DATA) == 3 and file.seek(3, os.SEEK_HOLE) == 9
    with pytest.raises(OSError) as caught:
        file.seek(9, os.SEEK_DATA)
    assert caught.value.errno == errno.ENXIO
    file.flush()
    file.sync(data_only=False)
    file.close()
    backend.close()


def test_what_is_not_there(backend: ZipBackend) -> None:
    tree = backend.file_tree()
    for parent, name in (("", b"nothing"), ("t", b"x"), ("", b"zarr.jso"), ("", b""), ("", b"t/c")):
        with pytest.raises(NotFoundError):
            tree.lookup(walk(tree, parent), name)
    with pytest.raises(NotAFolderError):
        tree.lookup(walk(tree, "zarr.json"), b"x")
    with pytest.raises(NotAFolderError):
        tree.list_dir(walk(tree, "zarr.json"))
    with pytest.raises(IsAFolderError):
        tree.open(walk(tree, "t"), os.O_RDONLY)
    with pytest.raises(StaleError):
        tree.attr(NodeId(15))
    with pytest.raises(StaleError):
        tree.attr(NodeId(0))
    with pytest.raises(AttributeNotFoundError):
        tree.get_xattr(ROOT, b"user.x")
    assert list(tree.list_xattr(ROOT)) == []
    backend.close()


def test_everything_that_writes_is_refused(backend: ZipBackend) -> None:
    tree = backend.file_tree()
    nodeid = walk(tree, "zarr.json")
    opened = tree.open(nodeid, os.O_RDONLY)
    for change in (
        lambda: tree.open(nodeid, os.O_RDWR),
        lambda: tree.open(nodeid, os.O_TRUNC),
        lambda: tree.set_attr(nodeid, AttrChange(mode=0)),
        lambda: tree.make(ROOT, b"x", stat.S_IFREG, Owner(0, 0)),
        lambda: tree.link(nodeid, ROOT, b"x"),
        lambda: tree.unlink(ROOT, b"zarr.json"),
        lambda: tree.remove_dir(ROOT, b"empty"),
        lambda: tree.rename(ROOT, b"t", ROOT, b"u", 0),
        lambda: tree.set_xattr(nodeid, b"user.x", b"", 0),
        lambda: tree.remove_xattr(nodeid, b"user.x"),
        lambda: opened.write(0, b"x"),
        lambda: opened.truncate(0),
        lambda: opened.allocate(0, 0, 1),
        lambda: backend.set(Key("x"), b""),
        lambda: backend.delete(Key("zarr.json")),
    ):
        with pytest.raises(ReadOnlyError):
            change()
    backend.close()


def test_keys(backend: ZipBackend) -> None:
    assert list(backend.list_dir(Key("t"))) == [Listed("c", True), Listed("zarr.json", False)]
    assert list(backend.list_dir(Key("nothing"))) == list(backend.list_dir(Key("zarr.json"))) == []
    assert set(backend.list_keys(Key("t/c"))) == {"t/c/0/0", "t/c/0/1", "t/c/1/0"}
    assert backend.get(Key("t/c/0/0"), 2, 7) == b"unk 0"
    assert backend.get(Key("t/c/0/0"), 7, 2) == backend.get(Key("t/c/0/0"), 50) == b""
    assert backend.stat(Key("t/c/0/0")).size_bytes == 9
    for key in ("t", "t/c/0/2", "", "zarr.json/x"):
        with pytest.raises(NotFoundError):
            backend.get(Key(key))
        with pytest.raises(NotFoundError):
            backend.stat(Key(key))
    backend.close()


def test_one_folder_as_the_root(archive: Path) -> None:
    backend = ZipBackend.open(str(archive), read_only=True, subpath="/t/")
    tree = backend.file_tree()
    assert names(tree, "") == [b"c", b"zarr.json"]
    assert tree.attr(ROOT).ino == ROOT
    chunk = walk(tree, "c/0/0")
    assert tree.key_of(chunk) == "c/0/0" and tree.key_of(ROOT) == ""
    assert backend.get(Key("c/0/0")) == tree.read_node(chunk, 0, 99) == b"chunk 0 0"
    assert set(backend.list_keys(Key(""))) == {"c/0/0", "c/0/1", "c/1/0", "zarr.json"}
    assert [child.name for child in backend.list_dir(Key("c"))] == ["0", "1"]
    backend.close()
    with pytest.raises(PathNotFoundError):
        ZipBackend.open(str(archive), read_only=True, subpath="nothing")
    with pytest.raises(NotAFolderError):
        ZipBackend.open(str(archive), read_only=True, subpath="zarr.json")


def test_as_the_base_of_an_inode_tree(backend: ZipBackend, archive: Path) -> None:
    tree = backend.file_tree()
    base = ArchiveBase(tree)
    for nodeid in range(2, base.last_nodeid + 1):
        parent, name = base.place(NodeId(nodeid))
        assert base.find(parent, name) == nodeid
        assert base.entry(NodeId(nodeid)).attr == tree.attr(NodeId(nodeid))
    assert base.find(ROOT, b"nothing") is None
    assert base.find(walk(tree, "zarr.json"), b"x") is None
    assert [name for name, _ in base.children(walk(tree, "t"))] == [b"c", b"zarr.json"]
    assert base.read(walk(tree, "zarr.json"), 0, 9) == b"{}"
    assert base.read_link(walk(tree, "link")) == b"t/zarr.json"
    assert base.read_archive(0, 4) == b"PK\x03\x04"
    with open(archive, "ab") as file:
        file.write(b"appended")
    assert base.read_archive(archive.stat().st_size - 8, 8) == b"appended"
    backend.close()


def test_a_folder_for_each_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As arrays chunked along their first dimension have them."""
    monkeypatch.setattr("zarrfs.storage.zip.folders._REMEMBERED", 10)
    entries = [RawEntry(b"c/%d/0/0" % number, b"%d" % number) for number in range(100)]
    for place in range(90, 0, -9):
        entries.insert(place, RawEntry(b"at-root-%d" % place))
    backend = ZipBackend.open(str(RawZip(entries).write(tmp_path / "b.zip")), read_only=True)
    assert len(list(backend.list_dir(Key("")))) == 11
    assert len(list(backend.list_dir(Key("c")))) == 100
    for entry in entries:
        assert backend.get(Key(entry.name.decode())) == entry.data
    backend.close()


def test_an_empty_archive(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    zipfile.ZipFile(path, "w").close()
    backend = ZipBackend.open(str(path), read_only=True)
    assert list(backend.list_keys(Key(""))) == []
    assert list(backend.file_tree().list_dir(ROOT)) == []
    with pytest.raises(NotFoundError):
        backend.file_tree().lookup(ROOT, b"x")
    backend.close()


def test_the_registry_finds_it(archive: Path, tmp_path: Path) -> None:
    assert registry.infer(str(archive)) == "zip"
    renamed = archive.rename(tmp_path / "without-extension")
    assert ZipBackend.recognises(str(renamed))
    other = tmp_path / "text"
    other.write_text("no archive")
    for path in (other, tmp_path, tmp_path / "absent"):
        assert not ZipBackend.recognises(str(path))
    with pytest.raises(UnknownBackendError):
        registry.get("rar")


def test_opening_what_is_no_archive(tmp_path: Path) -> None:
    with pytest.raises(PathNotFoundError):
        ZipBackend.open(str(tmp_path / "absent.zip"), read_only=True)
    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"PK")
    with pytest.raises(CorruptError, match="no end of central directory"):
        ZipBackend.open(str(broken), read_only=True)
