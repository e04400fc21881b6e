"""The changes a tree can undergo, and their packed form in the journal.

Each record is a NamedTuple whose integers come first and whose byte strings
come last; `Layout` packs the integers, the strings' lengths, then the strings.
A record says everything its effect depends on (times, new nodeids), so that
replaying it years later does what it did. Pure; any thread.

On the file (little-endian), 12 bytes before the payload:

    u16 magic | u8 type | u8 0 | u32 payload length | u32 crc32

The CRC-32 covers all but itself.
"""

from __future__ import annotations

from struct import Struct
from typing import ClassVar, NamedTuple, TypeAlias
from zlib import crc32

HEADER = Struct("<HBBII")
_BEFORE_CRC = Struct("<HBBI")
_CRC = Struct("<I")
MAGIC = 0x5AF5
NOT_RELOCATED = (1 << 64) - 1
NOT_CHECKED = -1
"""In place of a CRC: the data needs none, because it does not outlive the machine."""


class Make(NamedTuple):
    """A new node under a new name."""

    parent: int
    nodeid: int
    mode: int
    uid: int
    gid: int
    rdev: int
    time_ns: int
    name: bytes
    target: bytes


class Link(NamedTuple):
    """One more name for a node."""

    nodeid: int
    parent: int
    time_ns: int
    name: bytes


class Remove(NamedTuple):
    """A name goes, of a file or of an empty folder."""

    parent: int
    time_ns: int
    name: bytes


class Rename(NamedTuple):
    """renameat2(2); what was under the new name loses it, or is exchanged."""

    parent: int
    new_parent: int
    flags: int
    time_ns: int
    name: bytes
    new_name: bytes


class SetAttr(NamedTuple):
    """Attributes as they are afterwards; a smaller `size` cuts the content."""

    nodeid: int
    mode: int
    uid: int
    gid: int
    size: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int


class Write(NamedTuple):
    """Bytes of the journal become bytes `[offset, offset + size)` of a file."""

    nodeid: int
    offset: int
    size: int
    source: int
    data_crc32c: int
    time_ns: int


class Relocate(NamedTuple):
    """Bytes of a file are found somewhere else now; what they say is the same."""

    nodeid: int
    offset: int
    size: int
    source: int
    data_crc32c: int


class Settled(NamedTuple):
    """A node has an entry in the base's own file, which a commit appended.

    Its content is there from `source` on, unless that is `NOT_RELOCATED`.
    """

    nodeid: int
    source: int
    size: int
    packed_size: int
    method: int
    crc32: int
    header_offset: int
    path: bytes


class Clear(NamedTuple):
    """A range of a file becomes a hole; the file ends at `new_size`."""

    nodeid: int
    offset: int
    size: int
    new_size: int
    time_ns: int


class Replace(NamedTuple):
    """The whole content of a file is now `size` bytes at `source`, and published."""

    nodeid: int
    size: int
    source: int
    data_crc32c: int
    time_ns: int


class Publish(NamedTuple):
    """A file's content as it is now becomes its value."""

    nodeid: int


class SetXattr(NamedTuple):
    nodeid: int
    time_ns: int
    name: bytes
    value: bytes


class RemoveXattr(NamedTuple):
    nodeid: int
    time_ns: int
    name: bytes


class Drop(NamedTuple):
    """A node without a name is no longer referred to: its content goes."""

    nodeid: int


class Whole(NamedTuple):
    """A node in full, as a checkpoint keeps it; `extents` are packed."""

    nodeid: int
    mode: int
    uid: int
    gid: int
    rdev: int
    nlink: int
    size: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int
    parent: int
    in_base: int
    publication: int
    published_size: int
    published_mtime_ns: int
    name: bytes
    target: bytes
    extents: bytes
    published: bytes


class Name(NamedTuple):
    """A name of a folder in a checkpoint; child 0 hides a name of the base."""

    parent: int
    child: int
    name: bytes


class NextNode(NamedTuple):
    """The nodeid that the next new node takes, in a checkpoint."""

    nodeid: int


class Continue(NamedTuple):
    """The journal goes on in another segment."""

    offset: int
    size: int


class Synced(NamedTuple):
    """Everything up to the record before `position` was on the disk."""

    position: int


Record: TypeAlias = (
    Make | Link | Remove | Rename | SetAttr | Write | Clear | Replace | Publish | SetXattr
    | RemoveXattr | Drop | Relocate | Settled | Whole | Name | NextNode | Continue | Synced
)  # fmt: skip


class Layout:
    """How one record type is packed; `strings` counts its byte strings."""

    by_type: ClassVar[dict[int, Layout]] = {}
    by_class: ClassVar[dict[type, Layout]] = {}

    def __init__(self, number: int, record: type[Record], integers: str, strings: int = 0) -> None:
        self.number = number
        self.record = record
        self.fixed = Struct("<" + integers + "I" * strings)
        self.integers = len(integers)
        Layout.by_type[number] = Layout.by_class[record] = self

    def pack(self, record: Record) -> bytes:
        count = self.integers
        if len(record) == count:
            return self.fixed.pack(*record)
        strings: tuple[bytes, ...] = record[count:]  # type: ignore[assignment] # by construction
        return self.fixed.pack(*record[:count], *map(len, strings)) + b"".join(strings)

    def unpack(self, payload: bytes) -> Record:
        fields: list[int | bytes] = list(self.fixed.unpack_from(payload))
        position = self.fixed.size
        for index in range(self.integers, len(fields)):
            end = position + fields[index]  # type: ignore[operator] # still a length here
            fields[index] = payload[position:end]
            position = end
        return self.record(*fields)  # type: ignore[arg-type] # by construction


Layout(1, Make, "QQIIIQq", 2)
Layout(2, Link, "QQq", 1)
Layout(3, Remove, "Qq", 1)
Layout(4, Rename, "QQIq", 2)
Layout(5, SetAttr, "QIIIQqqq")
Layout(6, Write, "QQQQqq")
Layout(7, Clear, "QQQQq")
Layout(8, Replace, "QQQqq")
Layout(9, Publish, "Q")
Layout(10, SetXattr, "Qq", 2)
Layout(11, RemoveXattr, "Qq", 1)
Layout(12, Drop, "Q")
Layout(13, Whole, "QIIIQIQqqqQBBQq", 4)
Layout(14, Name, "QQ", 1)
Layout(15, NextNode, "Q")
Layout(16, Continue, "QQ")
Layout(17, Synced, "Q")
Layout(18, Relocate, "QQQQq")
Layout(19, Settled, "QQQQIIQ", 1)


def encode(record: Record) -> bytes:
    """Return the record as it lies in the journal."""
    layout = Layout.by_class[type(record)]
    payload = layout.pack(record)
    head = _BEFORE_CRC.pack(MAGIC, layout.number, 0, len(payload))
    return head + _CRC.pack(crc32(payload, crc32(head))) + payload


def decode(buffer: bytes, position: int) -> tuple[Record, int] | None:
    """Return a record and the position after it; None if none is intact there."""
    start = position + HEADER.size
    if start > len(buffer):
        return None
    magic, number, _, length, stored_crc = HEADER.unpack_from(buffer, position)
    layout = Layout.by_type.get(number)
    payload = buffer[start : start + length]
    if magic != MAGIC or layout is None or len(payload) != length:
        return None
    head = buffer[position : position + _BEFORE_CRC.size]
    if crc32(payload, crc32(head)) != stored_crc:
        return None
    return layout.unpack(payload), start + length
