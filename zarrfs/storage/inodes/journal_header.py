"""The first page of a journal: where its records begin, who writes it, since when.

Two slots are written in turn, so that one is intact at any moment; the intact
one with the higher sequence number counts. `context` belongs to the journal's
user: a read-write archive keeps there what it needs to recognise the archive.
Pure apart from the boot id; the journal holds the lock.
"""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from struct import Struct
from zlib import crc32

HEADER_BYTES = 4096
_SLOT_BYTES = HEADER_BYTES // 2
_FIXED = Struct("<8sQQQ16sIH")
_CRC = Struct("<I")
_MAGIC = b"zarrfsJ1"
MAX_CONTEXT_BYTES = _SLOT_BYTES - _FIXED.size - _CRC.size


@dataclass(frozen=True, slots=True)
class JournalHeader:
    sequence: int
    first_segment: int
    segment_bytes: int
    boot_id: bytes
    pid: int
    context: bytes

    def slot(self) -> tuple[int, bytes]:
        """Return the offset at which this header is to be written, and its bytes."""
        fixed = _FIXED.pack(
            _MAGIC,
            self.sequence,
            self.first_segment,
            self.segment_bytes,
            self.boot_id,
            self.pid,
            len(self.context),
        )
        body = fixed + self.context
        return self.sequence % 2 * _SLOT_BYTES, body + _CRC.pack(crc32(body))


def newest(page: bytes) -> JournalHeader | None:
    """Return the header that counts in a journal's first page; None if none is intact."""
    headers = [_parse(page[offset : offset + _SLOT_BYTES]) for offset in (0, _SLOT_BYTES)]
    return max((header for header in headers if header), key=lambda h: h.sequence, default=None)


def _parse(slot: bytes) -> JournalHeader | None:
    if len(slot) < _FIXED.size:
        return None
    magic, sequence, first, size, boot, pid, context_size = _FIXED.unpack_from(slot)
    end = _FIXED.size + context_size
    if magic != _MAGIC or len(slot) < end + _CRC.size:
        return None
    if crc32(slot[:end]) != _CRC.unpack_from(slot, end)[0]:
        return None
    return JournalHeader(sequence, first, size, boot, pid, slot[_FIXED.size : end])


def current_boot_id() -> bytes:
    """Return what tells this run of the machine from the last; unique where unknown."""
    try:
        fd = os.open("/proc/sys/kernel/random/boot_id", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return os.urandom(16)
    try:
        return uuid.UUID(os.read(fd, 64).decode().strip()).bytes
    finally:
        os.close(fd)
