"""Writes archives byte by byte, wrong ones included.

Each record is spelled out from APPNOTE.TXT, apart from anything in zarrfs.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from typing_extensions import Buffer


@dataclass
class RawEntry:
    """One entry; `None` takes the value that follows from the others."""

    name: bytes
    data: bytes = b""
    """What is in the archive, already compressed."""
    method: int = 0
    usize: int | None = None
    csize: int | None = None
    crc: int | None = None
    flags: int = 0
    host: int = 3
    mode: int = 0o644
    external: int | None = None
    date: int = (2024 - 1980) << 9 | 2 << 5 | 29
    time: int = 13 << 11 | 37 << 5 | 21
    extra: bytes = b""
    local_extra: bytes = b""
    comment: bytes = b""
    disk: int = 0
    local_name: bytes | None = None
    local_signature: bytes = b"PK\x03\x04"
    offset: int | None = None
    zip64: bool = False
    central: bool = True
    """Whether the directory mentions it."""


@dataclass
class RawZip:
    entries: list[RawEntry] = field(default_factory=list)
    comment: bytes = b""
    prefix: bytes = b""
    suffix: bytes = b""
    zip64: bool = False
    declared: int | None = None

    def write(self, path: Path) -> Path:
        path.write_bytes(self.build())
        return path

    def build(self) -> bytes:
        body, records = bytearray(), []
        for entry in self.entries:
            offset = len(body) if entry.offset is None else entry.offset
            body += _local(entry) + entry.data
            if entry.central:
                records.append(_central(entry, offset))
        count = len(records) if self.declared is None else self.declared
        directory = b"".join(records)
        end = self._end(len(body), directory, count)
        return self.prefix + bytes(body) + directory + end + self.suffix

    def _end(self, start: int, directory: bytes, count: int) -> bytes:
        size = len(directory)
        end = b""
        fields = (min(count, 0xFFFF), min(count, 0xFFFF), size, start)
        if self.zip64:
            end += struct.pack(
                "<4sQHHLLQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, start
            )
            end += struct.pack("<4sLQL", b"PK\x06\x07", 0, start + size, 1)
            fields = (0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF)
        end += struct.pack("<4sHHHHLLH", b"PK\x05\x06", 0, 0, *fields, len(self.comment))
        return end + self.comment


def _sizes(entry: RawEntry) -> tuple[int, int, int]:
    csize = len(entry.data) if entry.csize is None else entry.csize
    usize = len(entry.data) if entry.usize is None else entry.usize
    crc = zlib.crc32(entry.data) if entry.crc is None else entry.crc
    return crc, csize, usize


def _local(entry: RawEntry) -> bytes:
    crc, csize, usize = _sizes(entry)
    name = entry.name if entry.local_name is None else entry.local_name
    fixed = struct.pack(
        "<4sHHHHHLLLHH",
        entry.local_signature,
        20,
        entry.flags,
        entry.method,
        entry.time,
        entry.date,
        crc,
        csize & 0xFFFFFFFF,
        usize & 0xFFFFFFFF,
        len(name),
        len(entry.local_extra),
    )
    return fixed + name + entry.local_extra


def _central(entry: RawEntry, offset: int) -> bytes:
    crc, csize, usize = _sizes(entry)
    extra = entry.extra
    external = entry.mode << 16 if entry.external is None else entry.external
    if entry.zip64:
        extra = struct.pack("<HHQQQ", 1, 24, usize, csize, offset) + extra
        usize = csize = offset = 0xFFFFFFFF
    fixed = struct.pack(
        "<4sBBHHHHHLLLHHHHHLL",
        b"PK\x01\x02",
        20,
        entry.host,
        20,
        entry.flags,
        entry.method,
        entry.time,
        entry.date,
        crc,
        csize,
        usize,
        len(entry.name),
        len(extra),
        len(entry.comment),
        entry.disk,
        0,
        external,
        offset,
    )
    return fixed + entry.name + extra + entry.comment


def deflated(name: bytes, content: bytes, **fields: object) -> RawEntry:
    """An entry whose content is deflated."""
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    data = packer.compress(content) + packer.flush()
    entry = RawEntry(name, data, method=8, usize=len(content), crc=zlib.crc32(content))
    for field_name, value in fields.items():
        setattr(entry, field_name, value)
    return entry


class Unseekable(io.RawIOBase):
    """A pipe, as far as a writer can tell: sizes go into data descriptors."""

    def __init__(self, target: IO[bytes]) -> None:
        self.target = target

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer, /) -> int:
        return self.target.write(data)
