"""Finds entries without a directory, by their local headers.

For archives whose writer was killed before it wrote the directory (zarr-python
writes it when the store is closed), or over it. Only entries that are whole,
and whose CRC-32 is right, are found; whatever an entry holds is stepped over,
so that an archive stored in an archive stays what it is. What follows an entry
that is broken is searched only from where that entry says it ends. Pure; any
thread. Specification: APPNOTE.TXT 4.3.7, 4.3.9.
"""

from __future__ import annotations

import mmap
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from zarrfs.errors import CorruptError
from zarrfs.storage.zip.attributes import DEFAULT_FILE, DEFAULT_FOLDER, dos_time_ns
from zarrfs.storage.zip.checksums import crc32
from zarrfs.storage.zip.decoders import DecodeError, decode
from zarrfs.storage.zip.format import (
    DESCRIPTOR_SIGNATURE,
    LOCAL,
    LOCAL_SIGNATURE,
    MAX_32,
    Extra,
    Flag,
    Method,
)
from zarrfs.storage.zip.writable_records import EntryRecord

_BLOCK_BYTES: Final = 1 << 20


class Salvaged(NamedTuple):
    """An entry, and where it ends."""

    entry: EntryRecord
    stop: int


class _Header(NamedTuple):
    position: int
    flags: int
    method: int
    mtime_ns: int
    crc: int
    csize: int
    usize: int
    path: bytes
    data_start: int


def salvage(data: mmap.mmap, start: int = 0) -> Iterator[Salvaged]:
    """Yield the whole entries of a file, in its order."""
    position = data.find(LOCAL_SIGNATURE, start)
    while position >= 0:
        header = _header(data, position)
        if header is None:
            return
        found = _check(data, header)
        if found is not None:
            yield found
            position = data.find(LOCAL_SIGNATURE, found.stop)
            continue
        # It is broken. Its size may still be right; if it is, something follows.
        stop = header.data_start + header.csize
        if not header.csize or data[stop : stop + 4] != LOCAL_SIGNATURE:
            return
        position = stop


def _header(data: mmap.mmap, position: int) -> _Header | None:
    if position + LOCAL.size > len(data):
        return None
    fields = LOCAL.unpack_from(data, position)
    _, _, flags, method, clock, date, crc, csize, usize, name_size, extra_size = fields
    name_start = position + LOCAL.size
    extra_start = name_start + name_size
    data_start = extra_start + extra_size
    if data_start > len(data):
        return None
    extra = data[extra_start:data_start]
    usize, csize = _wide_sizes(extra, usize, csize)
    mtime_ns = dos_time_ns(date, clock)
    path = data[name_start:extra_start]
    return _Header(position, flags, method, mtime_ns, crc, csize, usize, path, data_start)


def _wide_sizes(extra: bytes, usize: int, csize: int) -> tuple[int, int]:
    """4.5.3: in a local header the field has both sizes."""
    position = 0
    while position + 4 <= len(extra):
        size = int.from_bytes(extra[position + 2 : position + 4], "little")
        field = extra[position + 4 : position + 4 + size]
        if int.from_bytes(extra[position : position + 2], "little") == Extra.ZIP64:
            wide = np.frombuffer(field[: len(field) // 8 * 8], "<u8").tolist()
            if usize == MAX_32 and wide:
                usize = wide.pop(0)
            if csize == MAX_32 and wide:
                csize = wide.pop(0)
        position += 4 + size
    return usize, csize


def _check(data: mmap.mmap, header: _Header) -> Salvaged | None:
    if header.flags & (Flag.ENCRYPTED | Flag.STRONG_ENCRYPTION) or not header.path:
        return None
    stop = header.data_start + header.csize
    if header.flags & Flag.DESCRIPTOR and not header.csize:
        return _check_streamed(data, header)
    if stop > len(data) or not _is_right(data, header):
        return None
    return Salvaged(_record(header), stop)


def _is_right(data: mmap.mmap, header: _Header) -> bool:
    if header.method == Method.STORED:
        if header.csize != header.usize:
            return False
        return _crc_of(data, header.data_start, header.csize) == header.crc
    try:
        packed = data[header.data_start : header.data_start + header.csize]
        return crc32(decode(header.method, packed, header.usize), 0) == header.crc
    except (DecodeError, CorruptError, MemoryError, OverflowError):
        return False


def _crc_of(data: mmap.mmap, start: int, size: int) -> int:
    crc = 0
    for position in range(start, start + size, _BLOCK_BYTES):
        crc = crc32(data[position : min(position + _BLOCK_BYTES, start + size)], crc)
    return crc


def _check_streamed(data: mmap.mmap, header: _Header) -> Salvaged | None:
    """The sizes follow the content: deflate knows its own end, stored content ends
    where a descriptor agrees with it."""
    if header.method == Method.DEFLATED:
        return _check_inflated(data, header)
    if header.method != Method.STORED:
        return None
    crc = 0
    counted = header.data_start
    position = data.find(DESCRIPTOR_SIGNATURE, counted)
    while position >= 0:
        for block in range(counted, position, _BLOCK_BYTES):
            crc = crc32(data[block : min(block + _BLOCK_BYTES, position)], crc)
        counted = position
        found = _descriptor(data, position, crc, position - header.data_start)
        if found is not None:
            size = position - header.data_start
            return Salvaged(_record(header._replace(crc=crc, csize=size, usize=size)), found)
        position = data.find(DESCRIPTOR_SIGNATURE, position + 1)
    return None


def _check_inflated(data: mmap.mmap, header: _Header) -> Salvaged | None:
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    crc = usize = 0
    position = header.data_start
    try:
        while not stream.eof and position < len(data):
            fed = data[position : position + _BLOCK_BYTES]
            position += len(fed)
            while fed and not stream.eof:
                produced = stream.decompress(fed, _BLOCK_BYTES)
                crc, usize = crc32(produced, crc), usize + len(produced)
                fed = stream.unconsumed_tail
    except zlib.error:
        return None
    if not stream.eof:
        return None
    stop = position - len(stream.unused_data)
    csize = stop - header.data_start
    end = _descriptor(data, stop, crc, csize)
    if end is None:
        return None
    return Salvaged(_record(header._replace(crc=crc, csize=csize, usize=usize)), end)


def _descriptor(data: mmap.mmap, position: int, crc: int, csize: int) -> int | None:
    """Return where a descriptor that says this ends; None if there is none."""
    start = position + 4 * (data[position : position + 4] == DESCRIPTOR_SIGNATURE)
    if data[start : start + 4] != crc.to_bytes(4, "little"):
        return None
    for width in (8, 4):
        if data[start + 4 : start + 4 + width] == (csize & (1 << 8 * width) - 1).to_bytes(
            width, "little"
        ):
            return start + 4 + 2 * width
    return None


def _record(header: _Header) -> EntryRecord:
    folder = header.path.endswith(b"/")
    return EntryRecord(
        header.path,
        DEFAULT_FOLDER if folder else DEFAULT_FILE,
        header.mtime_ns,
        header.method,
        header.crc,
        header.csize,
        header.usize,
        header.position,
    )
