"""Compression methods: a whole entry at once, or a piece after the other.

The declared size is never exceeded: a decoder is told how much it may
produce, and the little that can lie about it before that (zstd frames, an
LZMA dictionary) is checked first. Raises `DecodeError`, which callers turn
into an error with the entry's name. Any thread; a `Stream` has one user.
Specification: APPNOTE.TXT 4.4.5, 5.8 (LZMA); RFC 1951; RFC 8878 (zstd).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import cache
from typing import Any, Final, Protocol

from zarrfs.storage.tree import Buffer
from zarrfs.storage.zip.format import Method

_ZSTD_MAGIC: Final = 0xFD2FB528
_ZSTD_SKIPPABLE: Final = 0x184D2A50
_ZSTD_BLOCK: Final = 128 << 10
_ZSTD_SLACK: Final = 64 << 20


class DecodeError(Exception):
    """The compressed bytes cannot be what they say they are."""


class UnavailableDecoderError(DecodeError):
    """No library for this method is installed; the message says which to get."""


class Stream(Protocol):
    """A decompressor of Python's standard shape."""

    @property
    def eof(self) -> bool: ...
    def decompress(self, data: Buffer, max_length: int, /) -> bytes: ...


def decode(method: int, data: Buffer, size_bytes: int) -> bytes:
    """Decompress a whole entry to exactly the declared size.

    Raises: DecodeError.
    """
    if method in (Method.ZSTD, Method.ZSTD_OLD) and _zstd_module() is None:
        decoded = _decode_zstd(data, size_bytes)
    else:
        decoded = _decode_stream(method, data, size_bytes)
    if len(decoded) != size_bytes:
        raise DecodeError(f"it decompresses to {len(decoded)} bytes instead of {size_bytes}")
    return decoded


def _decode_stream(method: int, data: Buffer, size_bytes: int) -> bytes:
    stream, rest = _open(method, data, size_bytes, _inflater())
    try:
        # One byte more than declared, so that a lie shows; never more memory.
        decoded = stream.decompress(rest, size_bytes + 1)
        if len(decoded) == size_bytes and not stream.eof and method != Method.LZMA:
            decoded += stream.decompress(getattr(stream, "unconsumed_tail", b""), 1)
    except decode_errors() as error:
        raise DecodeError(f"it does not decompress: {error}") from error
    if not stream.eof and method != Method.LZMA and len(decoded) <= size_bytes:
        raise DecodeError("its compressed data is cut off")
    return decoded


def open_stream(method: int, head: Buffer, size_bytes: int) -> tuple[Stream, Buffer]:
    """Return a decompressor for an entry, and what of its first bytes to feed it.

    A deflate stream can be copied (`copy()`), to return to where it was.
    Raises: DecodeError.
    """
    return _open(method, head, size_bytes, zlib.decompressobj)


def streams_zstd() -> bool:
    """Whether zstd entries can be decompressed in pieces here."""
    return _zstd_module() is not None


def decode_errors() -> tuple[type[Exception], ...]:
    """What a stream's `decompress` may raise for wrong data."""
    return (zlib.error, OSError, EOFError, ValueError, *_errors())


def _open(
    method: int, data: Buffer, size_bytes: int, inflater: Callable[[int], Any]
) -> tuple[Stream, Buffer]:
    if method == Method.DEFLATED:
        return inflater(-zlib.MAX_WBITS), data
    if method == Method.BZIP2:
        import bz2

        return bz2.BZ2Decompressor(), data
    if method == Method.LZMA:
        return _open_lzma(data, size_bytes)
    zstd = _zstd_module()
    if zstd is None:
        raise UnavailableDecoderError(
            "too large to decompress at once; install backports.zstd, or use Python 3.14"
        )
    return zstd.ZstdDecompressor(), data


def _open_lzma(data: Buffer, size_bytes: int) -> tuple[Stream, Buffer]:
    """5.8.8: version (2 bytes), size of the properties (2), properties, data."""
    import lzma

    properties = bytes(data[4:9])
    if len(properties) < 5 or int.from_bytes(data[2:4], "little") != 5:
        raise DecodeError("its LZMA properties are cut off")
    packed, dictionary = properties[0], int.from_bytes(properties[1:], "little")
    if packed >= 9 * 5 * 5:
        raise DecodeError("its LZMA properties are invalid")
    chain = {
        "id": lzma.FILTER_LZMA1,
        "lc": packed % 9,
        "lp": packed // 9 % 5,
        "pb": packed // 45,
        # Nothing can refer further back than the whole entry: a claim of
        # 4 GiB need not be allocated.
        "dict_size": max(4096, min(dictionary, size_bytes)),
    }
    try:
        return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[chain]), data[9:]
    except (lzma.LZMAError, ValueError) as error:
        raise DecodeError("its LZMA properties are invalid") from error


def _decode_zstd(data: Buffer, size_bytes: int) -> bytes:
    from numcodecs import zstd

    bound = zstd_bound(data)
    if bound > size_bytes + _ZSTD_SLACK:
        raise DecodeError("it could decompress to far more than it declares")
    if size_bytes == 0 and bound == 0:
        return b""
    try:
        return bytes(zstd.decompress(data))
    except (RuntimeError, ValueError) as error:
        raise DecodeError(f"it does not decompress: {error}") from error


def zstd_bound(data: Buffer) -> int:
    """Return how much a zstd stream can decompress to at most, by its headers.

    Raises: DecodeError when the headers do not lead to the end of the data.
    """
    total = position = 0
    while position < len(data):
        magic = int.from_bytes(data[position : position + 4], "little")
        if magic & 0xFFFFFFF0 == _ZSTD_SKIPPABLE:
            position += 8 + int.from_bytes(data[position + 4 : position + 8], "little")
            continue
        if magic != _ZSTD_MAGIC or position + 6 > len(data):
            raise DecodeError("it holds no zstd frame")
        bound, position = _zstd_frame(data, position + 4)
        total += bound
    if position != len(data):
        raise DecodeError("its zstd frames are cut off")
    return total


def _zstd_frame(data: Buffer, position: int) -> tuple[int, int]:
    """RFC 8878, 3.1.1: walk a frame's blocks. Returns its bound and its end."""
    descriptor = data[position]
    single = descriptor >> 5 & 1
    size_code = descriptor >> 6
    dictionary = (0, 1, 2, 4)[descriptor & 3]
    size_width = (single, 2, 4, 8)[size_code]
    size_start = position + 1 + (1 - single) + dictionary
    position = size_start + size_width
    declared = int.from_bytes(data[size_start:position], "little") + (256 if size_width == 2 else 0)
    bound, last = 0, False
    while not last:
        if position + 3 > len(data):
            raise DecodeError("its zstd frames are cut off")
        header = int.from_bytes(data[position : position + 3], "little")
        last, kind, size = bool(header & 1), header >> 1 & 3, header >> 3
        bound += _ZSTD_BLOCK
        position += 3 + (1 if kind == 1 else size)
    position += 4 if descriptor & 4 else 0
    return (declared if size_width else bound), position


@cache
def _inflater() -> Callable[[int], Any]:
    """Make decompressors that need not be copied: `isal`'s are twice as fast."""
    try:
        from isal import isal_zlib
    except ImportError:
        return zlib.decompressobj
    maker: Callable[[int], Any] = isal_zlib.decompressobj
    return maker


def _errors() -> tuple[type[Exception], ...]:
    """The error classes of those libraries that have been imported."""
    import sys

    found: list[type[Exception]] = []
    for module, name in (
        ("isal.isal_zlib", "error"),
        ("lzma", "LZMAError"),
        ("compression.zstd", "ZstdError"),
        ("backports.zstd", "ZstdError"),
    ):
        if module in sys.modules:
            found.append(getattr(sys.modules[module], name))
    return tuple(found)


@cache
def _zstd_module() -> Any:
    """A zstd library that decompresses piece by piece, where there is one."""
    import importlib

    for name in ("compression.zstd", "backports.zstd"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return None
