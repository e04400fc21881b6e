"""Reads what entries hold.

Stored entries are slices of the archive's mapping: nothing is copied.
Compressed ones are decompressed whole into a bounded cache, or as streams
when they are too large for it. Each entry's local header is checked before
its first byte is served, and its CRC-32 when all of it passed through. Any
thread. Specification: APPNOTE.TXT 4.3.7.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from typing import Final

from zarrfs.errors import CorruptError, UnsupportedError, ZarrfsError
from zarrfs.storage.backend import CacheStats
from zarrfs.storage.tree import Buffer
from zarrfs.storage.zip import decoders
from zarrfs.storage.zip.archive_file import ArchiveFile
from zarrfs.storage.zip.attributes import FAULT_REASONS, Fault
from zarrfs.storage.zip.checksums import crc32
from zarrfs.storage.zip.decoded_cache import DecodedCache
from zarrfs.storage.zip.format import LOCAL, LOCAL_SIGNATURE, Flag, Method
from zarrfs.storage.zip.index import ZipIndex
from zarrfs.storage.zip.names import possible_names
from zarrfs.storage.zip.passing import Passing
from zarrfs.storage.zip.streams import CompressedEntry, EntryStream

DEFAULT_CACHE_BYTES: Final = 128 << 20
_OPEN_STREAMS: Final = 8
_EXPECTED_BYTES: Final = 1 << 18
# Numbers: to ask an enumeration takes ten times as long, once for each read.
_STORED: Final = int(Method.STORED)
_ENCRYPTED: Final = int(Flag.ENCRYPTED)
_GOOD: Final = 1
_BAD: Final = 2
_WRONG_CRC: Final = "its content does not match its checksum"
_UNSUPPORTED: Final = (Fault.ENCRYPTED, Fault.METHOD, Fault.VOLUME)


class Content:
    """The bytes of an archive's entries, by row of its index."""

    def __init__(
        self, file: ArchiveFile, index: ZipIndex, cache_bytes: int = DEFAULT_CACHE_BYTES
    ) -> None:
        self._file = file
        self._index = index
        views = index.views
        self._usize, self._csize, self._crc = views["usize"], views["csize"], views["crc"]
        self._method, self._fault = views["method"], views["fault"]
        self._offset = views["offset"]
        # A word a row in memory that the system only provides where it is
        # written; each element is written once, with a value that is always the same.
        self._data_start = memoryview(bytearray(8 * index.node_count)).cast("Q")
        self._checked = bytearray(index.node_count)
        """0 while an entry's CRC was not compared, then `_GOOD` or `_BAD`."""
        self._cache = DecodedCache(cache_bytes)
        self._whole_limit = cache_bytes // 4
        self._passing = Passing()
        self._lock = threading.Lock()
        self._streams: OrderedDict[int, EntryStream] = OrderedDict()  # Guarded by: _lock

    def cache_stats(self) -> CacheStats:
        return self._cache.stats()

    def read(self, row: int, offset: int, size: int) -> Buffer:
        """Return bytes of an entry, cut at its end.

        Raises: CorruptError, UnsupportedError, UnavailableError.
        """
        usize = self._usize[row]
        if self._fault[row]:
            raise self._fault_error(row)
        stop = min(offset + size, usize)
        if offset >= stop:
            return b""
        method = self._method[row]
        if method == _STORED:
            return self._read_stored(row, offset, stop, usize)
        if usize <= self._whole_limit or self._must_be_whole(method, usize):
            data = self._cache.get(row, lambda: self._decode(row))
            return memoryview(data)[offset:stop]
        return self._stream(row).read(offset, stop - offset)

    def expect_read(self, row: int) -> None:
        """Check a small stored entry now, so that its read need not."""
        usize = self._usize[row]
        if self._checked[row] or usize > _EXPECTED_BYTES or self._fault[row]:
            return
        if usize and self._method[row] == _STORED:
            try:
                self._read_stored(row, 0, usize, usize)
            except (ZarrfsError, OSError):
                pass  # the read meets it again

    def _must_be_whole(self, method: int, usize: int) -> bool:
        """Without a library that can do zstd in pieces, use all of the cache."""
        zstd = method in (Method.ZSTD, Method.ZSTD_OLD)
        return zstd and usize <= self._cache.limit_bytes and not decoders.streams_zstd()

    def _read_stored(self, row: int, offset: int, stop: int, usize: int) -> memoryview:
        start = self._data_start[row] or self._find_data(row)
        # Whoever gets the bytes will touch them, though their CRC be known.
        self._file.require(start + stop)
        view = self._file.view[start + offset : start + stop]
        if self._checked[row] != _GOOD:
            self._check_piece(row, offset, view, usize)
        return view

    def _check_piece(self, row: int, offset: int, view: memoryview, usize: int) -> None:
        if self._checked[row] == _BAD:
            raise self._corrupt(row, _WRONG_CRC)
        is_whole = len(view) == usize
        if not is_whole and not self._passing.wants(row, offset):
            return
        crc = crc32(view, 0)
        if is_whole:
            self._check_crc(row, crc)
            return
        whole = self._passing.saw(row, offset, offset + len(view), crc, usize)
        if whole is not None:
            self._check_crc(row, whole)

    def _check_crc(self, row: int, crc: int) -> None:
        if crc != self._crc[row]:
            self._checked[row] = _BAD
            raise self._corrupt(row, _WRONG_CRC)
        self._checked[row] = _GOOD

    def _decode(self, row: int) -> bytes:
        start = self._data_start[row] or self._find_data(row)
        data = self._file.read(start, self._csize[row])
        try:
            decoded = decoders.decode(self._method[row], data, self._usize[row])
        except decoders.UnavailableDecoderError as error:
            raise UnsupportedError(self.name(row), str(error)) from error
        except decoders.DecodeError as error:
            raise self._corrupt(row, str(error)) from error
        self._check_crc(row, crc32(decoded, 0))
        return decoded

    def _stream(self, row: int) -> EntryStream:
        with self._lock:
            stream = self._streams.get(row)
            if stream is None:
                entry = CompressedEntry(
                    self.name(row),
                    self._method[row],
                    self._data_start[row] or self._find_data(row),
                    self._csize[row],
                    self._usize[row],
                    self._crc[row],
                )
                stream = self._streams[row] = EntryStream(self._file, entry)
                if len(self._streams) > _OPEN_STREAMS:
                    self._streams.popitem(last=False)
            self._streams.move_to_end(row)
            return stream

    def data_start(self, row: int) -> int:
        """Return where an entry's bytes begin in the archive, its header checked.

        Raises: CorruptError, UnsupportedError.
        """
        if self._fault[row]:
            raise self._fault_error(row)
        return int(self._data_start[row] or self._find_data(row))

    def _find_data(self, row: int) -> int:
        offset = self._offset[row]
        path = self._index.path(row)
        # Header and name at once; nothing is before the directory but entries.
        header = self._file.read(offset, LOCAL.size + len(path))
        fields = LOCAL.unpack_from(header)
        signature, _, flags, method, _, _, _, _, _, name_size, extra_size = fields
        start = offset + LOCAL.size + name_size + extra_size
        if signature != LOCAL_SIGNATURE:
            raise self._corrupt(row, "there is no entry where the directory says")
        if min(method, 255) != self._method[row] or flags & _ENCRYPTED:
            raise self._corrupt(row, "its header contradicts the directory")
        if start + self._csize[row] > self._file.size_bytes:
            raise self._corrupt(row, FAULT_REASONS[Fault.OUTSIDE])
        if name_size != len(path) or header[LOCAL.size :] != path:
            self._check_name(row, path, offset + LOCAL.size, name_size, extra_size)
        self._data_start[row] = start
        return int(start)

    def _check_name(
        self, row: int, path: bytes, start: int, name_size: int, extra_size: int
    ) -> None:
        """Compare names that differ: the directory's may have been decoded."""
        raw = self._file.read(start, name_size)
        extra = self._file.read(start + name_size, extra_size)
        if path not in possible_names(raw, extra):
            raise self._corrupt(row, f"its header names {os.fsdecode(raw)!r} instead")

    def name(self, row: int) -> str:
        """What to call an entry in messages."""
        return f"{self._file.path}: {os.fsdecode(self._index.path(row))}"

    def _fault_error(self, row: int) -> ZarrfsError:
        fault = Fault(self._fault[row])
        if fault in _UNSUPPORTED:
            return UnsupportedError(self.name(row), f"cannot be read: {FAULT_REASONS[fault]}")
        return self._corrupt(row, f"cannot be read: {FAULT_REASONS[fault]}")

    def _corrupt(self, row: int, reason: str) -> CorruptError:
        return CorruptError(self.name(row), reason)
