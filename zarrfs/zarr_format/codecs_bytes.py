"""Bytes-to-bytes codecs, decoded within bounds.

Owns compressors and checksums, as both formats use them. numcodecs does the
work, but only after the compressed frame has said how large its content is:
a hostile chunk must not make us allocate more than the chunk's size. Where a
library offers a bounded decoder (zlib, bz2, lzma) that is used instead.

Pure; safe from any thread. The compressors release the GIL.

Source: numcodecs (the v2 ids); Zarr v3 codecs `blosc`, `gzip`, `zstd`,
`crc32c`; RFC 8878 section 3.1.1 (zstd frames); c-blosc README_HEADER.
"""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from zarrfs.errors import CorruptError, InvalidMetadataError, UnsupportedError

Buffer: TypeAlias = Any
"""Contiguous bytes: what supports the buffer protocol, arrays included."""

Decoder: TypeAlias = Callable[[Buffer, int], Buffer]
"""Decodes bytes to at most so many, or raises."""

LZMA_MEMORY_LIMIT_BYTES: Final = 1 << 28

_BLOSC_SHUFFLES: Final = {"noshuffle": 0, "shuffle": 1, "bitshuffle": 2}


@dataclass(frozen=True, slots=True)
class BytesCodec:
    """One codec that turns bytes into bytes."""

    codec_id: str
    decoder: Decoder
    numcodec: Any
    item_bytes: int = 1
    """What the encoder is told of the items, where it looks at them (blosc)."""

    def decode(self, data: Buffer, limit: int) -> Buffer:
        """Return the decoded bytes; CorruptError when they exceed `limit`."""
        return self.decoder(data, limit)

    def encode(self, data: Buffer) -> Buffer:
        if self.item_bytes > 1 and len(memoryview(data).cast("B")) % self.item_bytes == 0:
            import numpy as np

            data = np.frombuffer(data, f"V{self.item_bytes}")
        return self.numcodec.encode(data)

    def encoded_limit(self, decoded_limit: int) -> int:
        """An upper bound of the encoded size, for whatever this codec is."""
        return decoded_limit + decoded_limit // 2 + 4096


def too_large(codec_id: str, size: int, limit: int) -> CorruptError:
    return CorruptError(codec_id, f"decodes to {size} bytes or more, where {limit} are expected")


def inflate(data: Buffer, limit: int, *, window_bits: int, name: str) -> bytes:
    """Decompress zlib or gzip data, all members of the latter."""
    view = memoryview(data).cast("B")
    parts: list[bytes] = []
    total = 0
    while True:
        member = zlib.decompressobj(window_bits)
        part = member.decompress(view, limit + 1 - total)
        total += len(part)
        if total > limit:
            raise too_large(name, total, limit)
        if not member.eof:
            raise CorruptError(name, "the compressed data is cut off")
        parts.append(part)
        rest = member.unused_data
        if name != "gzip" or not rest.strip(b"\0"):
            return parts[0] if len(parts) == 1 else b"".join(parts)
        view = memoryview(rest)


def _zlib(data: Buffer, limit: int) -> bytes:
    return inflate(data, limit, window_bits=zlib.MAX_WBITS, name="zlib")


def _gzip(data: Buffer, limit: int) -> bytes:
    return inflate(data, limit, window_bits=16 + zlib.MAX_WBITS, name="gzip")


def _streams(name: str, make: Callable[[], Any], data: Buffer, limit: int) -> bytes:
    """Decompress one or several bz2 or xz streams, one after another."""
    rest = bytes(memoryview(data).cast("B"))
    parts: list[bytes] = []
    total = 0
    while True:
        stream = make()
        part = stream.decompress(rest, limit + 1 - total)
        total += len(part)
        if total > limit:
            raise too_large(name, total, limit)
        if not stream.eof:
            raise CorruptError(name, "the compressed data is cut off")
        parts.append(part)
        rest = stream.unused_data
        if not rest.strip(b"\0"):
            return b"".join(parts)


def _bz2(data: Buffer, limit: int) -> bytes:
    return _streams("bz2", bz2.BZ2Decompressor, data, limit)


def _lzma_decoder(config: Mapping[str, Any]) -> Decoder:
    container = config.get("format", lzma.FORMAT_XZ)
    filters = config.get("filters")

    def make() -> lzma.LZMADecompressor:
        if container == lzma.FORMAT_RAW:
            return lzma.LZMADecompressor(container, filters=filters)
        return lzma.LZMADecompressor(container, memlimit=LZMA_MEMORY_LIMIT_BYTES)

    return lambda data, limit: _streams("lzma", make, data, limit)


def _blosc(data: Buffer, limit: int) -> Buffer:
    from numcodecs import blosc

    if len(data) < 16:
        raise CorruptError("blosc", f"{len(data)} bytes are less than a header")
    decoded, _block, encoded = struct.unpack_from("<III", data, 4)
    if encoded > len(data):
        raise CorruptError("blosc", f"the header tells of {encoded} bytes, {len(data)} are here")
    if decoded > limit:
        raise too_large("blosc", decoded, limit)
    return blosc.decompress(data) if decoded else b""


def _lz4(data: Buffer, limit: int) -> Buffer:
    from numcodecs import lz4

    if len(data) < 4:
        raise CorruptError("lz4", f"{len(data)} bytes are less than a header")
    (decoded,) = struct.unpack_from("<I", data)
    if decoded > limit:
        raise too_large("lz4", decoded, limit)
    return lz4.decompress(data) if decoded else b""


def _zstd(data: Buffer, limit: int) -> Buffer:
    from numcodecs import zstd

    size = zstd_content_size(data)
    if size is None:
        # Written as a stream: the frame does not tell. Its blocks bound it.
        size = zstd_blocks_bound(data)
        if size > 4 * limit + (16 << 20):
            raise too_large("zstd", size, limit)
    elif size > limit:
        raise too_large("zstd", size, limit)
    decoded = zstd.decompress(data) if size else b""
    if len(decoded) > limit:
        raise too_large("zstd", len(decoded), limit)
    return decoded


_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_ZSTD_BLOCK_MAX_BYTES: Final = 128 << 10


def _zstd_header(data: Buffer) -> tuple[int, int, int]:
    """Return the flag of the content size field, its width, and its position."""
    if bytes(data[:4]) != _ZSTD_MAGIC or len(data) < 6:
        raise CorruptError("zstd", "not a zstd frame")
    descriptor = int(data[4])
    flag, single_segment = descriptor >> 6, descriptor >> 5 & 1
    position = 5 + (not single_segment) + (0, 1, 2, 4)[descriptor & 3]
    width = (single_segment, 2, 4, 8)[flag]
    if len(data) < position + width:
        raise CorruptError("zstd", "the frame's header is cut off")
    return flag, width, position


def zstd_content_size(data: Buffer) -> int | None:
    """Return the content size that a frame's header states, if it does."""
    data = memoryview(data).cast("B")
    flag, width, position = _zstd_header(data)
    if not width:
        return None
    size = int.from_bytes(data[position : position + width], "little")
    return size + 256 if flag == 1 else size


def zstd_blocks_bound(data: Buffer) -> int:
    """Return an upper bound of a frame's content, from the headers of its blocks."""
    data = memoryview(data).cast("B")
    _flag, width, position = _zstd_header(data)
    position += width
    bound = 0
    while True:
        header = int.from_bytes(data[position : position + 3], "little")
        if len(data) < position + 3:
            raise CorruptError("zstd", "the frame is cut off")
        last, kind, size = header & 1, header >> 1 & 3, header >> 3
        bound += _ZSTD_BLOCK_MAX_BYTES if kind == 2 else size
        position += 3 + (1 if kind == 1 else size)
        if last:
            return bound


def _through_numcodecs(codec_id: str, numcodec: Any) -> Decoder:
    """For codecs whose output is no larger than their input."""

    def decode(data: Buffer, limit: int) -> Buffer:
        size = memoryview(data).nbytes
        if size > limit + limit // 2 + 4096:
            raise too_large(codec_id, size, limit)
        if codec_id not in ("shuffle", "base64") and size < 4:
            raise CorruptError(codec_id, "shorter than its checksum")
        return numcodec.decode(data)

    return decode


_BOUNDED: Final[Mapping[str, Decoder]] = {
    "zlib": _zlib,
    "gzip": _gzip,
    "bz2": _bz2,
    "blosc": _blosc,
    "lz4": _lz4,
    "zstd": _zstd,
}
_NEVER_GROWING: Final = frozenset(
    ("shuffle", "base64", "crc32", "crc32c", "adler32", "fletcher32", "jenkins_lookup3")
)
BYTES_CODEC_IDS: Final = frozenset((*_BOUNDED, *_NEVER_GROWING, "lzma"))


def make_numcodec(config: Mapping[str, Any]) -> Any:
    """Return the numcodecs object of a v2 codec configuration.

    Raises: InvalidMetadataError for wrong parameters, UnsupportedError for a
    codec whose library is not installed.
    """
    import numcodecs

    codec_id = str(config.get("id"))
    parameters = dict(config)
    if codec_id == "lzma":
        parameters.pop("delta", None)  # GDAL says it, and the xz container says it again
    try:
        return numcodecs.get_codec(parameters)
    except (ImportError, numcodecs.errors.UnknownCodecError) as error:
        raise UnsupportedError(f"codec {codec_id}", "not available here") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise InvalidMetadataError(f"codec {codec_id}", [str(error)]) from error


def bytes_codec(config: Mapping[str, Any], *, item_bytes: int = 1) -> BytesCodec:
    """Return the codec of a v2 configuration, `{"id": ..., parameters}`."""
    codec_id = str(config.get("id"))
    if codec_id not in BYTES_CODEC_IDS:
        raise UnsupportedError(f"codec {codec_id}", "not known here")
    numcodec = make_numcodec(config)
    if codec_id == "lzma":
        return BytesCodec(codec_id, _lzma_decoder(config), numcodec)
    if codec_id in _BOUNDED:
        width = item_bytes if codec_id == "blosc" else 1
        return BytesCodec(codec_id, _BOUNDED[codec_id], numcodec, width)
    return BytesCodec(codec_id, _through_numcodecs(codec_id, numcodec), numcodec)


def v3_config(name: str, configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numcodecs configuration of a v3 bytes-to-bytes codec.

    Raises: UnsupportedError for a name that no numcodecs codec stands for.
    """
    if name.startswith("numcodecs."):
        return {**configuration, "id": name.removeprefix("numcodecs.")}
    if name == "blosc":
        kept = {k: v for k, v in configuration.items() if k != "typesize"}
        shuffle = configuration.get("shuffle", "noshuffle")
        return {**kept, "id": "blosc", "shuffle": _BLOSC_SHUFFLES.get(shuffle, shuffle)}
    if name in ("gzip", "zstd", "crc32c"):
        return {**configuration, "id": name}
    raise UnsupportedError(f"codec {name}", "not known here")
