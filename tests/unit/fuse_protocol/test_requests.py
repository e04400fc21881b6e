"""Requests, byte by byte: what is read from them, and what is refused."""

from __future__ import annotations

import sys

import pytest

from tests.unit.fuse_protocol.wire import request
from zarrfs.errors import MalformedMessageError
from zarrfs.fuse_protocol import requests
from zarrfs.fuse_protocol.opcodes import WIRE, Opcode
from zarrfs.fuse_protocol.requests import Setattr

pytestmark = pytest.mark.skipif(
    sys.byteorder != "little", reason="the literals are those of a little-endian kernel"
)

HEADER = (
    b"\x2d\x00\x00\x00"  # len: 45
    b"\x01\x00\x00\x00"  # opcode: LOOKUP
    b"\x02\x00\x00\x00\x00\x00\x00\x80"  # unique: 2, sent again
    b"\x07\x00\x00\x00\x00\x00\x00\x00"  # nodeid: 7
    b"\xe8\x03\x00\x00"  # uid: 1000
    b"\x64\x00\x00\x00"  # gid: 100
    b"\x92\x10\x00\x00"  # pid: 4242
    b"\x00\x00"  # total_extlen
    b"\x00\x00"  # padding
)

U32_7 = b"\x07\x00\x00\x00"
U32_9 = b"\x09\x00\x00\x00"
U64_5 = b"\x05\x00\x00\x00\x00\x00\x00\x00"
U64_MINUS_1 = b"\xff" * 8
PAD = b"\x00\x00\x00\x00"

BODIES: list[tuple[Opcode, bytes, tuple[object, ...]]] = [
    (Opcode.LOOKUP, b"0.12\x00", (b"0.12",)),
    (Opcode.LOOKUP, b"\xff\xfe\x00", (b"\xff\xfe",)),
    (Opcode.FORGET, U64_5, (5,)),
    (
        Opcode.BATCH_FORGET,
        b"\x02\x00\x00\x00" + PAD  # count
        + U64_5 + b"\x01" + b"\x00" * 7  # nodeid 5, nlookup 1
        + b"\x06" + b"\x00" * 7 + b"\x03" + b"\x00" * 7,  # nodeid 6, nlookup 3
        ([(5, 1), (6, 3)],),
    ),
    (Opcode.GETATTR, PAD + PAD + U64_5, (None,)),
    (Opcode.GETATTR, b"\x01\x00\x00\x00" + PAD + U64_5, (5,)),  # GETATTR_FH
    (
        Opcode.SETATTR,
        b"\x38\x00\x00\x00" + PAD  # valid: SIZE, ATIME, MTIME
        + b"\x03" + b"\x00" * 7  # fh
        + b"\x00\x10" + b"\x00" * 6  # size: 4096
        + b"\x00" * 8  # lock_owner
        + b"\x01" + b"\x00" * 7  # atime: 1 s
        + U64_MINUS_1  # mtime: 1 s before the epoch
        + b"\x00" * 8  # ctime
        + U32_7 + U32_9 + PAD  # their nanoseconds
        + b"\xa4\x81\x00\x00" + PAD  # mode: 0100644, unused
        + U32_7 + U32_9 + PAD,  # uid, gid, unused
        (Setattr(0x38, 3, 4096, 1_000_000_007, -999_999_991, 0, 0o100644, 7, 9),),
    ),
    (Opcode.READLINK, b"", ()),
    (Opcode.SYMLINK, b"name\x00../target\x00", (b"name", b"../target")),
    (
        Opcode.MKNOD,
        b"\xa4\x81\x00\x00" + U32_7 + b"\x12\x00\x00\x00" + PAD + b"n\x00",  # mode, rdev, umask
        (b"n", 0o100644, 7, 0o22),
    ),
    (Opcode.MKDIR, b"\xed\x41\x00\x00" + b"\x12\x00\x00\x00" + b"d\x00", (b"d", 0o40755, 0o22)),
    (Opcode.UNLINK, b"x\x00", (b"x",)),
    (Opcode.RMDIR, b"x\x00", (b"x",)),
    (Opcode.RENAME, U64_5 + b"old\x00new\x00", (b"old", 5, b"new", 0)),
    (Opcode.RENAME2, U64_5 + U32_7 + PAD + b"old\x00new\x00", (b"old", 5, b"new", 7)),
    (Opcode.LINK, U64_5 + b"new\x00", (5, b"new")),
    (Opcode.OPEN, b"\x02\x80\x00\x00" + b"\x01\x00\x00\x00", (0x8002, 1)),
    (
        Opcode.CREATE,
        b"\xc1\x00\x00\x00" + b"\xa4\x81\x00\x00" + b"\x12\x00\x00\x00" + PAD + b"n\x00",
        (b"n", 0o100644, 0xC1, 0o22, 0),
    ),
    (
        Opcode.READ,
        U64_5 + b"\x00\x00\x01" + b"\x00" * 5 + b"\x00\x00\x02\x00"  # fh, offset, size
        + PAD + U64_5 + PAD + PAD,  # read_flags, lock_owner, flags, padding
        (5, 65536, 131072),
    ),
    (
        Opcode.WRITE,
        U64_5 + b"\x09" + b"\x00" * 7 + b"\x03\x00\x00\x00"  # fh, offset, size
        + b"\x04\x00\x00\x00" + b"\x00" * 8 + PAD + PAD  # KILL_SUIDGID, lock_owner, flags
        + b"abc",
        (5, 9, b"abc", 4),
    ),
    (Opcode.STATFS, b"", ()),
    (Opcode.RELEASE, U64_5 + U32_7 + PAD + b"\x00" * 8, (5,)),
    (Opcode.FSYNC, U64_5 + PAD + PAD, (5, False)),
    (Opcode.FSYNC, U64_5 + b"\x01\x00\x00\x00" + PAD, (5, True)),
    (Opcode.SETXATTR, b"\x03\x00\x00\x00" + U32_7 + b"user.a\x00" + b"v\x00w",
     (b"user.a", b"v\x00w", 7)),
    (Opcode.SETXATTR, PAD + PAD + b"user.a\x00", (b"user.a", b"", 0)),
    (Opcode.GETXATTR, U32_9 + PAD + b"user.a\x00", (b"user.a", 9)),
    (Opcode.LISTXATTR, U32_9 + PAD, (9,)),
    (Opcode.REMOVEXATTR, b"user.a\x00", (b"user.a",)),
    (Opcode.FLUSH, U64_5 + PAD + PAD + U64_5, (5,)),
    (Opcode.OPENDIR, PAD + PAD, (0, 0)),
    (Opcode.RELEASEDIR, U64_5 + PAD + PAD + b"\x00" * 8, (5,)),
    (Opcode.FSYNCDIR, U64_5 + b"\x01\x00\x00\x00" + PAD, (5, True)),
    (Opcode.ACCESS, b"\x04\x00\x00\x00" + PAD, (4,)),
    (Opcode.INTERRUPT, U64_5, (5,)),
    (Opcode.FALLOCATE, U64_5 + b"\x09" + b"\x00" * 7 + b"\x0a" + b"\x00" * 7 + U32_7 + PAD,
     (5, 7, 9, 10)),
    (Opcode.LSEEK, U64_5 + b"\x09" + b"\x00" * 7 + b"\x03\x00\x00\x00" + PAD, (5, 9, 3)),
    (Opcode.COPY_FILE_RANGE, b"".join(bytes([n]) + b"\x00" * 7 for n in range(1, 8)),
     (1, 2, 3, 4, 5, 6)),
]  # fmt: skip


def test_header() -> None:
    message = HEADER + b"0.12\x00"
    expected = (45, Opcode.LOOKUP, 2 | 1 << 63, 7, 1000, 100, 4242, 0)
    assert requests.header(message, len(message)) == expected


@pytest.mark.parametrize(
    ("message", "end"),
    [
        (HEADER[:39], 39),
        (HEADER + b"0.12\x00", 44),
        (HEADER + b"0.12\x00\x00", 46),
        (HEADER[:36] + b"\x01\x00" + HEADER[38:] + b"0.12\x00", 45),  # 8 bytes of extensions
    ],
    ids=["short", "cut", "long", "extensions larger than the message"],
)
def test_a_header_that_lies_is_refused(message: bytes, end: int) -> None:
    with pytest.raises(MalformedMessageError):
        requests.header(message, end)


@pytest.mark.parametrize(
    ("opcode", "body", "expected"), BODIES, ids=[opcode.name for opcode, _, _ in BODIES]
)
def test_bodies(opcode: Opcode, body: bytes, expected: tuple[object, ...]) -> None:
    message = request(opcode, body)
    assert WIRE[opcode].parse(message, len(message)) == expected
    # The same in a buffer that still holds the end of an older message.
    buffer = bytearray(message + b"\xee" * 100)
    assert WIRE[opcode].parse(buffer, len(message)) == expected


@pytest.mark.parametrize(
    ("opcode", "body"),
    [(opcode, body) for opcode, body, _ in BODIES if body],
    ids=[opcode.name for opcode, body, _ in BODIES if body],
)
def test_every_cut_body_is_refused_or_read_within_its_bounds(opcode: Opcode, body: bytes) -> None:
    """What is behind the end is never read: it is poisoned differently each time."""
    for length in range(len(body)):
        end = requests.HEADER_SIZE + length
        outcomes = []
        for poison in (b"\x00", b"\x41"):
            buffer = bytearray(request(opcode, body)[:end] + poison * 200)
            try:
                outcomes.append(WIRE[opcode].parse(buffer, end))
            except MalformedMessageError:
                outcomes.append(("refused",))
        assert outcomes[0] == outcomes[1]


def test_a_row_for_every_parser() -> None:
    tried = {opcode for opcode, _, _ in BODIES} | {Opcode.INIT, Opcode.DESTROY}
    tried |= {Opcode.READDIR, Opcode.READDIRPLUS}  # fuse_read_in, as READ
    assert tried == set(WIRE)


@pytest.mark.parametrize(
    ("opcode", "body"),
    [
        (Opcode.LOOKUP, b"\x00"),
        (Opcode.LOOKUP, b"name"),
        (Opcode.LOOKUP, b"two\x00names\x00"),
        (Opcode.LOOKUP, b"n" * 5000 + b"\x00"),
        (Opcode.RENAME, U64_5 + b"only one\x00"),
        (Opcode.RENAME, U64_5 + b"old\x00new\x00third\x00"),
        (Opcode.SYMLINK, b"name\x00\x00"),
        (Opcode.BATCH_FORGET, b"\xff\xff\xff\x7f" + PAD + U64_5 + U64_5),
        (Opcode.WRITE, U64_5 * 2 + b"\xff\xff\xff\xff" + b"\x00" * 20 + b"abc"),
        (Opcode.SETXATTR, b"\xff\xff\xff\xff" + PAD + b"user.a\x00"),
    ],
)
def test_contents_that_cannot_be_are_refused(opcode: Opcode, body: bytes) -> None:
    message = request(opcode, body)
    with pytest.raises(MalformedMessageError):
        WIRE[opcode].parse(message, len(message))
