"""Replies and notifications, byte by byte."""

from __future__ import annotations

import sys
from struct import unpack, unpack_from

import pytest

from zarrfs.fuse_protocol import notifications, replies
from zarrfs.fuse_protocol.directory import (
    dirent_packer,
    dirent_size,
    direntplus_packer,
    direntplus_size,
)
from zarrfs.fuse_protocol.flags import EXPIRE_ONLY
from zarrfs.fuse_protocol.replies import Replies, Timeout
from zarrfs.storage.tree import Attr, Entry, NodeId, StatFs

pytestmark = pytest.mark.skipif(
    sys.byteorder != "little", reason="the literals are those of a little-endian kernel"
)

ATTR = Attr(
    ino=0x11, mode=0o100644, nlink=1, uid=2, gid=3, rdev=4, size=5, blocks=6,
    atime_ns=7_000_000_008, mtime_ns=9_000_000_010, ctime_ns=-1,
)  # fmt: skip

WIRE_ATTR = (
    b"\x11\x00\x00\x00\x00\x00\x00\x00"  # ino
    b"\x05\x00\x00\x00\x00\x00\x00\x00"  # size
    b"\x06\x00\x00\x00\x00\x00\x00\x00"  # blocks
    b"\x07\x00\x00\x00\x00\x00\x00\x00"  # atime
    b"\x09\x00\x00\x00\x00\x00\x00\x00"  # mtime
    b"\xff\xff\xff\xff\xff\xff\xff\xff"  # ctime: a second before the epoch, and
    b"\x08\x00\x00\x00"  # atimensec
    b"\x0a\x00\x00\x00"  # mtimensec
    b"\xff\xc9\x9a\x3b"  # ctimensec: 999,999,999 of the next
    b"\xa4\x81\x00\x00"  # mode
    b"\x01\x00\x00\x00"  # nlink
    b"\x02\x00\x00\x00"  # uid
    b"\x03\x00\x00\x00"  # gid
    b"\x04\x00\x00\x00"  # rdev
    b"\x00\x10\x00\x00"  # blksize: 4096
    b"\x00\x00\x00\x00"  # flags
)

WIRE_ENTRY = (
    b"\x21\x00\x00\x00\x00\x00\x00\x00"  # nodeid
    b"\x22\x00\x00\x00\x00\x00\x00\x00"  # generation
    b"\x01\x00\x00\x00\x00\x00\x00\x00"  # entry_valid
    b"\x02\x00\x00\x00\x00\x00\x00\x00"  # attr_valid
    b"\x00\x65\xcd\x1d"  # entry_valid_nsec: half a second
    b"\x80\xb2\xe6\x0e"  # attr_valid_nsec: a quarter
) + WIRE_ATTR


@pytest.fixture
def built() -> Replies:
    return Replies(1.5, 2.25, 0.0)


def test_entry_and_attr(built: Replies) -> None:
    assert built.entry(Entry(NodeId(0x21), ATTR, 0x22)) == WIRE_ENTRY
    assert built.attr(ATTR) == WIRE_ENTRY[24:32] + WIRE_ENTRY[36:40] + b"\0" * 4 + WIRE_ATTR


def test_an_entry_whose_times_are_equal_is_built_the_same(built: Replies) -> None:
    times = dict.fromkeys(("atime_ns", "mtime_ns", "ctime_ns"), -1)
    entry = Entry(NodeId(0x21), ATTR._replace(**times), 0x22)
    second, nsec = WIRE_ATTR[40:48], WIRE_ATTR[56:60]
    wire = WIRE_ATTR[:24] + second * 3 + nsec * 3 + WIRE_ATTR[60:]
    assert built.entry(entry) == WIRE_ENTRY[:40] + wire


def test_nothing_there_may_be_remembered(built: Replies) -> None:
    assert built.negative_entry is None
    remembered = Replies(1, 1, 3.5).negative_entry
    assert remembered is not None
    nodeid, _, seconds, _, nanoseconds = unpack_from("<4QI", remembered)
    assert (nodeid, seconds, nanoseconds, len(remembered)) == (0, 3, 500_000_000, 128)


def test_timeouts() -> None:
    assert Timeout.from_seconds(0.5) == (0, 500_000_000)
    assert Timeout.from_seconds(-1) == (0, 0)
    assert Timeout.from_seconds(float("inf")) == (1 << 32, 0)


def test_the_small_ones() -> None:
    assert replies.opened(5, 0x82, 9) == b"\x05" + b"\0" * 7 + b"\x82\0\0\0" + b"\x09\0\0\0"
    assert replies.written(3) == b"\x03" + b"\0" * 7
    assert replies.xattr_size(3) == b"\x03" + b"\0" * 7
    assert replies.lseek(3) == b"\x03" + b"\0" * 7
    statfs = replies.statfs(StatFs(4096, 1, 2, 3, 4, 5, 255))
    assert unpack("<5Q3I28x", statfs) == (1, 2, 3, 4, 5, 4096, 255, 4096)


@pytest.mark.parametrize("length", [1, 7, 8, 9, 255])
def test_records_of_listings_are_padded_to_words(length: int) -> None:
    name = b"n" * length
    record = dirent_packer(length)(0x11, 3, length, 8, name)
    padding = -length % 8
    assert record == (
        b"\x11" + b"\0" * 7  # ino
        + b"\x03" + b"\0" * 7  # off
        + bytes([length, 0, 0, 0])  # namelen
        + b"\x08\0\0\0"  # type: DT_REG
        + name + b"\0" * padding
    )  # fmt: skip
    assert len(record) == dirent_size(length)
    plus = direntplus_packer(length)(*range(22), 0x11, 3, length, 8, name)
    assert plus[128:] == record and len(plus) == direntplus_size(length)


def test_notifications() -> None:
    head = b"\0" * 8  # unique: 0
    assert notifications.inval_inode(5, 0, -1) == (
        b"\x28\0\0\0" + b"\x02\0\0\0" + head  # 40 bytes, code 2
        + b"\x05" + b"\0" * 7 + b"\0" * 8 + b"\xff" * 8  # nodeid, off, len
    )  # fmt: skip
    assert notifications.inval_entry(5, b"name", EXPIRE_ONLY) == (
        b"\x25\0\0\0" + b"\x03\0\0\0" + head  # 37 bytes, code 3
        + b"\x05" + b"\0" * 7 + b"\x04\0\0\0" + b"\x01\0\0\0" + b"name\0"  # parent, namelen, flags
    )  # fmt: skip
    assert notifications.delete(5, 6, b"name") == (
        b"\x2d\0\0\0" + b"\x06\0\0\0" + head  # 45 bytes, code 6
        + b"\x05" + b"\0" * 7 + b"\x06" + b"\0" * 7 + b"\x04\0\0\0" + b"\0" * 4 + b"name\0"
    )  # fmt: skip
    assert notifications.resend() == b"\x10\0\0\0" + b"\x07\0\0\0" + head
