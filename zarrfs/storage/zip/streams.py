"""Entries too large to keep decompressed: read forward, with places to return to.

A reader that goes from front to back costs one decompression. Deflate streams
can be copied, so copies are kept along the way and a reader that goes back
starts at the nearest one; the other methods start again. The last few MiB are
kept, because the kernel's read-ahead asks for pieces slightly out of order.
Any thread; each stream is used by one at a time.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass
from typing import Any, Final

from zarrfs.errors import CorruptError, UnsupportedError
from zarrfs.storage.zip import decoders
from zarrfs.storage.zip.archive_file import ArchiveFile
from zarrfs.storage.zip.checksums import crc32

_INPUT_BYTES: Final = 256 << 10
_PIECE_BYTES: Final = 1 << 20
_RECENT_BYTES: Final = 8 << 20
_FIRST_SPACING_BYTES: Final = 8 << 20
_MAX_PLACES: Final = 128
"""A copy of a deflate stream takes about 45 KiB."""


@dataclass(frozen=True, slots=True)
class CompressedEntry:
    """What decompressing an entry needs to know of it."""

    name: str
    method: int
    start: int
    """Where the compressed bytes begin in the archive's file."""
    csize: int
    usize: int
    crc: int


@dataclass(slots=True)
class _State:
    """A decompressor, and how far it has come."""

    stream: Any
    pending: bytes
    """Input it was given and has not used."""
    taken: int
    """Compressed bytes read from the file."""
    given: int
    """Bytes produced."""
    crc: int

    def copy(self) -> _State:
        return _State(self.stream.copy(), self.pending, self.taken, self.given, self.crc)


class EntryStream:
    """One large entry, decompressed as it is read."""

    def __init__(self, file: ArchiveFile, entry: CompressedEntry) -> None:
        self._file = file
        self._entry = entry
        self._lock = threading.Lock()
        self._state = self._begin()  # Guarded by: _lock
        self._places: list[_State] = []  # Guarded by: _lock. Sorted by `given`
        self._spacing = _FIRST_SPACING_BYTES  # Guarded by: _lock
        self._recent: deque[tuple[int, bytes]] = deque()  # Guarded by: _lock
        self._recent_bytes = 0  # Guarded by: _lock

    def read(self, offset: int, size: int) -> bytes:
        """Return at most `size` bytes. Raises: CorruptError."""
        stop = min(offset + size, self._entry.usize)
        with self._lock:
            return self._read(offset, stop)

    def _read(self, offset: int, stop: int) -> bytes:
        first_recent = self._recent[0][0] if self._recent else self._state.given
        if offset < first_recent:
            self._return_to(offset)
        wanted: list[bytes] = []
        for start, piece in self._recent:
            if start < stop and start + len(piece) > offset:
                wanted.append(piece[max(offset - start, 0) : stop - start])
        while self._state.given < stop:
            start = self._state.given
            piece = self._next_piece()
            if start + len(piece) > offset:
                wanted.append(piece[max(offset - start, 0) : stop - start])
        return wanted[0] if len(wanted) == 1 else b"".join(wanted)

    def _begin(self) -> _State:
        entry = self._entry
        head = self._file.read(entry.start, min(entry.csize, _INPUT_BYTES))
        try:
            stream, rest = decoders.open_stream(entry.method, head, entry.usize)
        except decoders.UnavailableDecoderError as error:
            raise UnsupportedError(entry.name, str(error)) from error
        except decoders.DecodeError as error:
            raise self._corrupt(str(error)) from error
        return _State(stream, bytes(rest), len(head), 0, 0)

    def _return_to(self, offset: int) -> None:
        place = bisect_right(self._places, offset, key=lambda state: state.given) - 1
        self._state = self._places[place].copy() if place >= 0 else self._begin()
        self._recent.clear()
        self._recent_bytes = 0

    def _next_piece(self) -> bytes:
        state, entry = self._state, self._entry
        want = min(_PIECE_BYTES, entry.usize - state.given)
        pieces: list[bytes] = []
        have = 0
        while have < want:
            data = self._produce(state, want - have)
            pieces.append(data)
            have += len(data)
        piece = b"".join(pieces)
        state.crc = crc32(piece, state.crc)
        state.given += len(piece)
        self._remember(piece)
        if state.given == entry.usize:
            self._finish(state)
        return piece

    def _produce(self, state: _State, limit: int) -> bytes:
        entry = self._entry
        while True:
            if state.stream.eof:
                raise self._corrupt(f"it decompresses to {state.given} bytes or a little more")
            fed = state.pending
            if not fed and getattr(state.stream, "needs_input", True):
                size = min(_INPUT_BYTES, entry.csize - state.taken)
                fed = self._file.read(entry.start + state.taken, size) if size else b""
                state.taken += size
            try:
                data: bytes = state.stream.decompress(fed, limit)
            except decoders.decode_errors() as error:
                raise self._corrupt(f"it does not decompress: {error}") from error
            state.pending = getattr(state.stream, "unconsumed_tail", b"")
            if data:
                return data
            if not fed and state.taken == entry.csize and not state.stream.eof:
                raise self._corrupt("its compressed data is cut off")

    def _remember(self, piece: bytes) -> None:
        state = self._state
        self._recent.append((state.given - len(piece), piece))
        self._recent_bytes += len(piece)
        while self._recent_bytes > _RECENT_BYTES:
            self._recent_bytes -= len(self._recent.popleft()[1])
        last = self._places[-1].given if self._places else 0
        if state.given - last >= self._spacing and hasattr(state.stream, "copy"):
            self._places.append(state.copy())
            if len(self._places) > _MAX_PLACES:
                self._spacing *= 2
                del self._places[::2]

    def _finish(self, state: _State) -> None:
        """Every byte passed through in order, if perhaps not without returns."""
        if state.crc != self._entry.crc:
            raise self._corrupt("its content does not match its checksum")
        try:
            more = b"" if state.stream.eof else state.stream.decompress(state.pending, 1)
        except decoders.decode_errors():
            more = b"?"
        if more:
            raise self._corrupt(f"it decompresses to more than {self._entry.usize} bytes")

    def _corrupt(self, reason: str) -> CorruptError:
        return CorruptError(self._entry.name, reason)
