"""The inode tree's POSIX rules, one by one."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator

import pytest

from tests.unit.storage.inodes.journals import OWNER, memory_tree, successor_of
from zarrfs.errors import (
    AttributeNotFoundError,
    DeniedError,
    ExistsError,
    InvalidArgumentError,
    IsAFolderError,
    NotAFolderError,
    NotEmptyError,
    NotFoundError,
    StaleError,
    UnsupportedError,
    ZarrfsError,
)
from zarrfs.storage.inodes.tree import RENAME_NOREPLACE, InodeTree
from zarrfs.storage.tree import (
    ROOT,
    Attr,
    AttrChange,
    CreatesOpen,
    FileTree,
    ListsEntries,
    NodeId,
    StatelessReads,
    Watchable,
)

RENAME_EXCHANGE = 2


@pytest.fixture
def tree() -> Iterator[InodeTree]:
    with memory_tree() as tree:
        yield tree


def folder(tree: InodeTree, name: bytes, parent: NodeId = ROOT) -> NodeId:
    return tree.make(parent, name, stat.S_IFDIR | 0o755, OWNER).nodeid


def file(tree: InodeTree, name: bytes, content: bytes = b"", parent: NodeId = ROOT) -> NodeId:
    entry, opened = tree.create(parent, name, 0o644, OWNER, os.O_WRONLY)
    opened.write(0, content)
    opened.close()
    return entry.nodeid


def content(tree: InodeTree, nodeid: NodeId) -> bytes:
    return bytes(tree.read_node(nodeid, 0, 1 << 30))


def names(tree: InodeTree, nodeid: NodeId = ROOT) -> list[bytes]:
    return sorted(entry.name for entry in tree.list_dir(nodeid))


def settle(tree: InodeTree, *nodeids: NodeId) -> list[Attr]:
    """Set all times to 1 ns, so that any change of them shows."""
    change = AttrChange(atime_ns=1, mtime_ns=1, ctime_ns=1)
    return [tree.set_attr(nodeid, change) for nodeid in nodeids]


def changed_times(tree: InodeTree, nodeid: NodeId) -> str:
    """Which times are no longer what `settle` made them: `""`, `"c"` or `"mc"`."""
    attr = tree.attr(nodeid)
    return "m" * (attr.mtime_ns != 1) + "c" * (attr.ctime_ns != 1)


def test_fulfils_the_protocols(tree: InodeTree) -> None:
    contract: FileTree = tree
    assert not contract.read_only
    assert not contract.static
    for protocol in (CreatesOpen, StatelessReads, ListsEntries, Watchable):
        assert isinstance(tree, protocol)


class TestNames:
    def test_every_type_of_node(self, tree: InodeTree) -> None:
        for type_bits in (stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK):
            entry = tree.make(ROOT, b"%d" % type_bits, type_bits | 0o640, OWNER, rdev=0x103)
            assert entry.attr.mode == type_bits | 0o640
            assert entry.attr.rdev == 0x103
            assert (entry.attr.uid, entry.attr.gid) == (OWNER.uid, OWNER.gid)
            assert entry.attr.nlink == 1
        link = tree.make(ROOT, b"l", stat.S_IFLNK | 0o777, OWNER, target=b"to/there")
        assert tree.read_link(link.nodeid) == b"to/there"
        assert link.attr.size == 8
        with pytest.raises(InvalidArgumentError):
            tree.read_link(ROOT)

    def test_missing_and_mistaken(self, tree: InodeTree) -> None:
        plain = file(tree, b"f")
        with pytest.raises(NotFoundError):
            tree.lookup(ROOT, b"nothing")
        with pytest.raises(NotAFolderError):
            tree.lookup(plain, b"x")
        with pytest.raises(StaleError):
            tree.attr(NodeId(999))
        with pytest.raises(ExistsError):
            tree.make(ROOT, b"f", stat.S_IFDIR | 0o755, OWNER)
        with pytest.raises(NotAFolderError):
            tree.list_dir(plain)

    def test_folders_count_their_subfolders(self, tree: InodeTree) -> None:
        a = folder(tree, b"a")
        assert (tree.attr(ROOT).nlink, tree.attr(a).nlink) == (3, 2)
        b = folder(tree, b"b", a)
        file(tree, b"f", parent=a)
        assert tree.attr(a).nlink == 3
        tree.rename(a, b"b", ROOT, b"b", 0)
        assert (tree.attr(ROOT).nlink, tree.attr(a).nlink) == (4, 2)
        tree.remove_dir(ROOT, b"b")
        assert tree.attr(ROOT).nlink == 3
        assert tree.attr(b).nlink == 0  # the kernel's reference is not yet given back

    def test_removing(self, tree: InodeTree) -> None:
        a, plain = folder(tree, b"a"), file(tree, b"f")
        file(tree, b"x", parent=a)
        with pytest.raises(NotEmptyError):
            tree.remove_dir(ROOT, b"a")
        with pytest.raises(NotAFolderError):
            tree.remove_dir(ROOT, b"f")
        with pytest.raises(IsAFolderError):
            tree.unlink(ROOT, b"a")
        with pytest.raises(NotFoundError):
            tree.unlink(ROOT, b"nothing")
        tree.unlink(a, b"x")
        tree.remove_dir(ROOT, b"a")
        tree.unlink(ROOT, b"f")
        assert names(tree) == []
        assert tree.key_of(plain) is None
        with pytest.raises(NotFoundError):
            tree.make(a, b"x", stat.S_IFREG | 0o644, OWNER)

    def test_hard_links(self, tree: InodeTree) -> None:
        plain, a = file(tree, b"f", b"shared"), folder(tree, b"a")
        assert tree.link(plain, a, b"g").attr.nlink == 2
        assert tree.lookup(a, b"g").nodeid == plain
        with pytest.raises(ExistsError):
            tree.link(plain, a, b"g")
        with pytest.raises(DeniedError):
            tree.link(a, ROOT, b"h")
        tree.unlink(ROOT, b"f")
        assert tree.key_of(plain) == "a/g"
        assert tree.attr(plain).nlink == 1
        tree.unlink(a, b"g")
        with pytest.raises(NotFoundError):
            tree.link(plain, ROOT, b"f")

    def test_odd_names(self, tree: InodeTree) -> None:
        for name in (b"\xff\xfe", b"n" * 255, b"new\nline", b" "):
            nodeid = file(tree, name)
            assert tree.key_of(nodeid) == os.fsdecode(name)
        assert len(names(tree)) == 4

    def test_entries_from_a_position(self, tree: InodeTree) -> None:
        made = [file(tree, b"%d" % number) for number in range(5)]
        listed = list(tree.list_entries(ROOT, 2))
        assert [entry.nodeid for _, entry in listed] == made[2:]


class TestRename:
    def test_over_what_is_there(self, tree: InodeTree) -> None:
        old, _ = file(tree, b"old", b"1"), file(tree, b"new", b"2")
        tree.rename(ROOT, b"old", ROOT, b"new", 0)
        assert names(tree) == [b"new"]
        assert tree.lookup(ROOT, b"new").nodeid == old
        a, b = folder(tree, b"a"), folder(tree, b"b")
        tree.rename(ROOT, b"a", ROOT, b"b", 0)
        assert tree.lookup(ROOT, b"b").nodeid == a
        assert tree.attr(b).nlink == 0
        assert tree.attr(ROOT).nlink == 3

    def test_kinds_must_fit(self, tree: InodeTree) -> None:
        file(tree, b"f")
        a = folder(tree, b"a")
        with pytest.raises(IsAFolderError):
            tree.rename(ROOT, b"f", ROOT, b"a", 0)
        with pytest.raises(NotAFolderError):
            tree.rename(ROOT, b"a", ROOT, b"f", 0)
        folder(tree, b"b")
        file(tree, b"x", parent=a)
        with pytest.raises(NotEmptyError):
            tree.rename(ROOT, b"b", ROOT, b"a", 0)

    def test_a_folder_cannot_hold_itself(self, tree: InodeTree) -> None:
        a = folder(tree, b"a")
        b = folder(tree, b"b", a)
        for target in (a, b):
            with pytest.raises(InvalidArgumentError):
                tree.rename(ROOT, b"a", target, b"c", 0)
        with pytest.raises(InvalidArgumentError):
            tree.rename(a, b"b", ROOT, b"a", RENAME_EXCHANGE)

    def test_noreplace(self, tree: InodeTree) -> None:
        file(tree, b"f")
        file(tree, b"g")
        with pytest.raises(ExistsError):
            tree.rename(ROOT, b"f", ROOT, b"g", RENAME_NOREPLACE)
        tree.rename(ROOT, b"f", ROOT, b"h", RENAME_NOREPLACE)
        assert names(tree) == [b"g", b"h"]

    def test_exchange_of_a_file_and_a_folder(self, tree: InodeTree) -> None:
        a, b = folder(tree, b"a"), folder(tree, b"b")
        inner, plain = folder(tree, b"inner", a), file(tree, b"f", parent=b)
        tree.rename(a, b"inner", b, b"f", RENAME_EXCHANGE)
        assert tree.lookup(b, b"f").nodeid == inner
        assert tree.lookup(a, b"inner").nodeid == plain
        assert (tree.attr(a).nlink, tree.attr(b).nlink) == (2, 3)
        assert tree.key_of(plain) == "a/inner"
        with pytest.raises(NotFoundError):
            tree.rename(a, b"inner", b, b"none", RENAME_EXCHANGE)

    def test_between_two_names_of_one_file_does_nothing(self, tree: InodeTree) -> None:
        plain = file(tree, b"f")
        tree.link(plain, ROOT, b"g")
        tree.rename(ROOT, b"f", ROOT, b"g", 0)
        assert names(tree) == [b"f", b"g"]

    def test_unknown_flags_are_refused(self, tree: InodeTree) -> None:
        file(tree, b"f")
        for flags in (3, 4, 8):
            with pytest.raises(InvalidArgumentError):
                tree.rename(ROOT, b"f", ROOT, b"g", flags)

    def test_keys_below_a_moved_folder(self, tree: InodeTree) -> None:
        a = folder(tree, b"a")
        plain = file(tree, b"f", parent=folder(tree, b"b", a))
        tree.rename(ROOT, b"a", ROOT, b"z", 0)
        assert tree.key_of(plain) == "z/b/f"


class TestTimes:
    def test_a_name_changes_its_folder(self, tree: InodeTree) -> None:
        a, plain = folder(tree, b"a"), file(tree, b"f")
        settle(tree, ROOT, a, plain)
        tree.link(plain, a, b"g")
        assert [changed_times(tree, n) for n in (ROOT, a, plain)] == ["", "mc", "c"]
        settle(tree, ROOT, a, plain)
        tree.unlink(a, b"g")
        assert [changed_times(tree, n) for n in (ROOT, a, plain)] == ["", "mc", "c"]
        settle(tree, ROOT, a, plain)
        tree.rename(ROOT, b"f", a, b"f", 0)
        assert [changed_times(tree, n) for n in (ROOT, a, plain)] == ["mc", "mc", "c"]
        settle(tree, ROOT, a)
        folder(tree, b"b", a)
        assert [changed_times(tree, n) for n in (ROOT, a)] == ["", "mc"]

    def test_contents_and_attributes(self, tree: InodeTree) -> None:
        plain = file(tree, b"f", b"12345")
        opened = tree.open(plain, os.O_RDWR)
        for change in (
            lambda: opened.write(0, b"x"),
            lambda: opened.truncate(3),
            lambda: opened.truncate(3),
            lambda: opened.allocate(0, 0, 10),
            lambda: tree.set_attr(plain, AttrChange(size=2)),
        ):
            settle(tree, plain)
            change()
            assert changed_times(tree, plain) == "mc"
        for change in (
            lambda: tree.set_attr(plain, AttrChange(mode=0o600)),
            lambda: tree.set_attr(plain, AttrChange(uid=5)),
            lambda: tree.set_attr(plain, AttrChange(atime_ns=1)),
            lambda: tree.set_xattr(plain, b"user.a", b"1", 0),
            lambda: tree.remove_xattr(plain, b"user.a"),
        ):
            settle(tree, plain)
            change()
            assert changed_times(tree, plain) == "c"
        settle(tree, plain)
        opened.flush()
        opened.sync(data_only=False)
        tree.set_attr(plain, AttrChange())
        assert changed_times(tree, plain) == ""
        opened.close()

    def test_attributes_are_kept(self, tree: InodeTree) -> None:
        plain = file(tree, b"f")
        change = AttrChange(mode=0o4711, uid=1, gid=2, atime_ns=-5, mtime_ns=2**60, ctime_ns=7)
        attr = tree.set_attr(plain, change)
        assert attr.mode == stat.S_IFREG | 0o4711
        assert (attr.uid, attr.gid) == (1, 2)
        assert (attr.atime_ns, attr.mtime_ns, attr.ctime_ns) == (-5, 2**60, 7)
        assert tree.attr(plain) == attr


class TestContents:
    def test_holes_and_overlaps(self, tree: InodeTree) -> None:
        plain = file(tree, b"f")
        opened = tree.open(plain, os.O_RDWR)
        opened.write(10, b"later")
        assert content(tree, plain) == bytes(10) + b"later"
        opened.write(8, b"over")
        assert content(tree, plain) == bytes(8) + b"overter"
        opened.truncate(9)
        opened.truncate(12)
        assert content(tree, plain) == bytes(8) + b"o" + bytes(3)
        assert bytes(opened.read(11, 100)) == bytes(1)
        assert bytes(opened.read(12, 100)) == b""
        opened.close()

    def test_append_goes_to_the_end(self, tree: InodeTree) -> None:
        plain = file(tree, b"f", b"abc")
        opened = tree.open(plain, os.O_WRONLY | os.O_APPEND)
        assert opened.write(0, b"def") == 3
        opened.close()
        assert content(tree, plain) == b"abcdef"

    def test_opening_with_truncation(self, tree: InodeTree) -> None:
        plain = file(tree, b"f", b"abc")
        tree.open(plain, os.O_WRONLY | os.O_TRUNC).close()
        assert tree.attr(plain).size == 0
        with pytest.raises(IsAFolderError):
            tree.open(ROOT, os.O_RDONLY)

    def test_a_single_extent_is_read_without_a_copy(self, tree: InodeTree) -> None:
        plain = file(tree, b"f")
        opened = tree.open(plain, os.O_WRONLY)
        for number in range(8):
            opened.write(number * 65536, bytes([number]) * 65536)
        opened.close()
        assert len(tree.ledger.state.nodes[plain].extents) == 1
        assert isinstance(tree.read_node(plain, 0, 8 * 65536), memoryview)

    def test_allocate(self, tree: InodeTree) -> None:
        plain = file(tree, b"f", b"x" * 20)
        opened = tree.open(plain, os.O_RDWR)
        keep, punch, zero = 1, 2, 16
        opened.allocate(keep, 0, 100)
        assert tree.attr(plain).size == 20
        opened.allocate(keep | punch, 4, 4)
        assert content(tree, plain) == b"xxxx" + bytes(4) + b"x" * 12
        opened.allocate(zero, 18, 4)
        assert content(tree, plain)[16:] == b"xx" + bytes(4)
        opened.allocate(zero | keep, 20, 100)
        assert tree.attr(plain).size == 22
        opened.allocate(0, 0, 30)
        assert tree.attr(plain).size == 30
        for mode in (punch, 8, 0x20, 0x40):
            with pytest.raises(UnsupportedError):
                opened.allocate(mode, 0, 1)
        for offset, length in ((-1, 5), (0, 0), (0, -1)):
            with pytest.raises(InvalidArgumentError):
                opened.allocate(0, offset, length)
        opened.close()

    def test_seek_data_and_hole(self, tree: InodeTree) -> None:
        plain = file(tree, b"f")
        opened = tree.open(plain, os.O_RDWR)
        opened.write(100, b"x" * 50)
        opened.truncate(1000)
        assert opened.seek(0, os.SEEK_DATA) == 100
        assert opened.seek(120, os.SEEK_DATA) == 120
        assert opened.seek(0, os.SEEK_HOLE) == 0
        assert opened.seek(110, os.SEEK_HOLE) == 150
        for offset, whence in ((150, os.SEEK_DATA), (1000, os.SEEK_HOLE), (-1, os.SEEK_DATA)):
            with pytest.raises(OSError) as caught:
                opened.seek(offset, whence)
            assert caught.value.errno == errno.ENXIO
        opened.truncate(150)
        assert opened.seek(110, os.SEEK_HOLE) == 150
        opened.close()

    def test_blocks_count_data_only(self, tree: InodeTree) -> None:
        plain = file(tree, b"f", b"x" * 1000)
        tree.set_attr(plain, AttrChange(size=10**9))
        assert tree.attr(plain).blocks == 2

    def test_an_unlinked_file_lives_while_it_is_open(self, tree: InodeTree) -> None:
        plain = file(tree, b"f", b"content")
        opened = tree.open(plain, os.O_RDWR)
        tree.unlink(ROOT, b"f")
        tree.forget(plain, 1)
        opened.write(7, b"!")
        assert bytes(opened.read(0, 100)) == b"content!"
        assert tree.attr(plain).nlink == 0
        opened.close()
        with pytest.raises(StaleError):
            tree.attr(plain)

    def test_an_unlinked_file_lives_while_it_is_referred_to(self, tree: InodeTree) -> None:
        plain = file(tree, b"f")
        tree.lookup(ROOT, b"f")
        tree.unlink(ROOT, b"f")
        tree.forget(plain, 1)
        assert tree.attr(plain).nlink == 0
        tree.forget(plain, 1)
        with pytest.raises(StaleError):
            tree.attr(plain)

    def test_crumbs_are_joined(self, tree: InodeTree) -> None:
        plain = file(tree, b"f")
        opened = tree.open(plain, os.O_RDWR)
        for offset in reversed(range(2000)):
            opened.write(offset * 3, b"%03d" % (offset % 1000))
        assert len(tree.ledger.state.nodes[plain].extents) == 2000
        expected = content(tree, plain)
        opened.close()
        assert len(tree.ledger.state.nodes[plain].extents) == 1
        assert (
            content(tree, plain) == expected == b"".join(b"%03d" % (n % 1000) for n in range(2000))
        )


class TestPublication:
    """What `Storage` sees of a file changes whole: on close, fsync and rename."""

    @staticmethod
    def published(tree: InodeTree, nodeid: NodeId) -> bytes | None:
        return tree.contents.read_published(tree.ledger.state.nodes[nodeid], 0, None)

    def test_on_flush_and_on_sync(self, tree: InodeTree) -> None:
        plain = file(tree, b"f", b"old value")
        opened = tree.open(plain, os.O_RDWR)
        opened.write(0, b"new")
        opened.truncate(5)
        assert content(tree, plain) == b"new v"
        assert self.published(tree, plain) == b"old value"
        opened.sync(data_only=True)
        assert self.published(tree, plain) == b"new v"
        opened.write(0, b"NEW")
        opened.flush()
        assert self.published(tree, plain) == b"NEW v"
        opened.close()

    def test_on_rename_and_link(self, tree: InodeTree) -> None:
        entry, opened = tree.create(ROOT, b"tmp", 0o644, OWNER, os.O_WRONLY)
        opened.write(0, b"value")
        assert self.published(tree, entry.nodeid) is None
        tree.rename(ROOT, b"tmp", ROOT, b"key", 0)
        assert self.published(tree, entry.nodeid) == b"value"
        opened.close()

    def test_not_in_the_middle_of_another_writers_work(self, tree: InodeTree) -> None:
        plain = file(tree, b"f", b"old value")
        one, two = tree.open(plain, os.O_WRONLY), tree.open(plain, os.O_WRONLY)
        one.write(0, b"ONE")
        two.write(3, b"two")
        one.close()
        assert self.published(tree, plain) == b"old value"
        two.close()
        assert self.published(tree, plain) == b"ONEtwolue"

    def test_readers_do_not_publish(self, tree: InodeTree) -> None:
        plain = file(tree, b"f", b"old")
        writer = tree.open(plain, os.O_WRONLY)
        writer.write(0, b"NEW")
        tree.open(plain, os.O_RDONLY).close()
        assert self.published(tree, plain) == b"old"
        writer.close()

    def test_truncation_by_path_is_a_whole_value(self, tree: InodeTree) -> None:
        plain = file(tree, b"f", b"old value")
        tree.set_attr(plain, AttrChange(size=3))
        assert self.published(tree, plain) == b"old"
        writer = tree.open(plain, os.O_WRONLY)
        tree.set_attr(plain, AttrChange(size=0))  # how the kernel says O_TRUNC
        assert self.published(tree, plain) == b"old"
        writer.write(0, b"longer")
        writer.close()
        assert self.published(tree, plain) == b"longer"

    def test_space_of_what_was_replaced_is_free_again(self, tree: InodeTree) -> None:
        space = tree.ledger.space
        plain = file(tree, b"f", b"x" * 100_000)
        before = space.in_use_bytes
        for size in (50_000, 100_000):
            opened = tree.open(plain, os.O_WRONLY | os.O_TRUNC)
            for offset in range(0, size, 10_000):
                opened.write(offset, b"y" * 10_000)
                opened.write(offset, b"z" * 10_000)
            assert space.in_use_bytes == before + size
            opened.close()
            before = space.in_use_bytes
            assert len(content(tree, plain)) == size
        tree.unlink(ROOT, b"f")
        tree.forget(plain, 1)
        assert space.in_use_bytes == before - 100_000


class TestXattrs:
    def test_set_get_list_remove(self, tree: InodeTree) -> None:
        assert tree.list_xattr(ROOT) == []
        tree.set_xattr(ROOT, b"user.a", b"1", 0)
        tree.set_xattr(ROOT, b"user.b", b"", 1)
        tree.set_xattr(ROOT, b"user.a", b"2", 2)
        assert sorted(tree.list_xattr(ROOT)) == [b"user.a", b"user.b"]
        assert tree.get_xattr(ROOT, b"user.a") == b"2"
        assert tree.get_xattr(ROOT, b"user.b") == b""
        tree.remove_xattr(ROOT, b"user.a")
        with pytest.raises(AttributeNotFoundError):
            tree.get_xattr(ROOT, b"user.a")
        with pytest.raises(AttributeNotFoundError):
            tree.remove_xattr(ROOT, b"user.a")
        with pytest.raises(AttributeNotFoundError):
            tree.set_xattr(ROOT, b"user.a", b"", 2)
        with pytest.raises(ExistsError):
            tree.set_xattr(ROOT, b"user.b", b"", 1)


def test_a_checkpoint_keeps_everything(tree: InodeTree) -> None:
    a = folder(tree, b"a")
    plain = file(tree, b"f", b"content", parent=a)
    tree.link(plain, ROOT, b"g")
    tree.set_xattr(plain, b"user.a", b"1", 0)
    tree.make(ROOT, b"l", stat.S_IFLNK | 0o777, OWNER, target=b"a/f")
    opened = tree.open(plain, os.O_WRONLY)
    opened.write(0, b"CON")
    before = [tree.attr(NodeId(n)) for n in tree.ledger.state.nodes]
    tree.ledger.checkpoint()
    file(tree, b"after")
    with successor_of(tree) as again:
        assert [again.attr(attr_ino) for attr_ino in (NodeId(a.ino) for a in before[1:])] == before[
            1:
        ]
        assert content(again, plain) == b"CONtent"
        assert again.contents.read_published(again.ledger.state.node(plain), 0, None) == b"content"
        assert again.get_xattr(plain, b"user.a") == b"1"
        assert names(again) == [b"a", b"after", b"g", b"l"]
        again.unlink(a, b"f")
        assert again.key_of(plain) == "g"
        assert again.make(ROOT, b"n", stat.S_IFREG, OWNER).nodeid not in tree.ledger.state.nodes
    opened.close()


def test_a_predecessors_open_file_outlives_its_name(tree: InodeTree) -> None:
    """Until the kernel forgets it; that we looked it up ourselves meanwhile ends nothing."""
    held = file(tree, b"f", b"content")
    with successor_of(tree) as again:
        again.lookup(ROOT, b"f")
        again.forget(held, 1)  # as whoever looks at what arrived under a name
        again.lookup(ROOT, b"f")  # the kernel, which has it open through its predecessor
        again.unlink(ROOT, b"f")
        assert content(again, held) == b"content"
        again.forget(held, 3)
        with pytest.raises(StaleError):
            again.attr(held)


def test_what_the_kernel_looks_up_anew_goes_with_its_name(tree: InodeTree) -> None:
    unused = file(tree, b"f", b"content")
    with successor_of(tree) as again:
        again.lookup(ROOT, b"f")
        again.unlink(ROOT, b"f")
        again.forget(unused, 1)
        with pytest.raises(StaleError):
            again.attr(unused)


def test_the_journal_does_not_grow_without_bound(tree: InodeTree) -> None:
    tree.ledger.least_checkpoint_bytes = 100_000
    plain = file(tree, b"f")
    opened = tree.open(plain, os.O_WRONLY)
    for number in range(5000):
        opened.write(0, b"%05d" % number)
    opened.close()
    assert tree.ledger.journal.record_bytes < 100_000
    with successor_of(tree) as again:
        assert content(again, plain) == b"04999"


def test_a_change_that_the_journal_refuses_did_not_happen(
    tree: InodeTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = file(tree, b"f", b"content")
    before = (names(tree), tree.attr(plain), tree.attr(ROOT), tree.ledger.space.in_use_bytes)

    def full(fd: int, data: bytes, offset: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    opened = tree.open(plain, os.O_WRONLY)
    with monkeypatch.context() as disk:
        disk.setattr(os, "pwrite", full)
        for change in (
            lambda: tree.make(ROOT, b"g", stat.S_IFREG | 0o644, OWNER),
            lambda: tree.rename(ROOT, b"f", ROOT, b"g", 0),
            lambda: tree.unlink(ROOT, b"f"),
            lambda: tree.set_attr(plain, AttrChange(mode=0)),
            lambda: opened.write(0, b"new"),
            lambda: opened.truncate(0),
        ):
            with pytest.raises(ZarrfsError):
                change()
    assert before == (
        names(tree), tree.attr(plain), tree.attr(ROOT), tree.ledger.space.in_use_bytes,
    )  # fmt: skip
    assert content(tree, plain) == b"content"
    opened.close()
