"""Shard indexes as bytes, by the specification."""

from __future__ import annotations

import pytest

from zarrfs.errors import CorruptError, InvalidMetadataError, UnsupportedError
from zarrfs.zarr_format.shards import ShardLayout, parse_shard_layout

EMPTY = b"\xff" * 16
INDEX = (
    b"\x20\0\0\0\0\0\0\0" b"\x05\0\0\0\0\0\0\0"  # inner chunk (0, 0): bytes 32 to 37
    + EMPTY
    + EMPTY
    + b"\0\0\0\0\0\0\0\0" b"\x20\0\0\0\0\0\0\0"  # (1, 1): bytes 0 to 32
)  # fmt: skip
LAYOUT = ShardLayout((2, 2), "end", "<", checksum=False)


def test_an_index_is_read() -> None:
    index = LAYOUT.decode_index(INDEX, 101)
    assert index.range_of((0, 0)) == (32, 37)
    assert index.range_of((0, 1)) is None
    assert index.range_of((1, 1)) == (0, 32)
    assert list(index.present()) == [(0, 0), (1, 1)]


def test_an_index_is_written() -> None:
    assert LAYOUT.encode_index([(32, 5), None, None, (0, 32)]) == INDEX


def test_a_checksum_is_written_and_checked() -> None:
    layout = ShardLayout((2, 2), "start", "<", checksum=True)
    data = layout.encode_index([(32, 5), None, None, (0, 32)])
    assert data[:-4] == INDEX
    assert layout.decode_index(data, 200).range_of((0, 0)) == (32, 37)
    with pytest.raises(CorruptError, match="crc32c"):
        layout.decode_index(data[:-1] + b"\0", 200)


def test_where_the_index_lies() -> None:
    assert LAYOUT.index_range(100) == (36, 100)
    assert ShardLayout((2, 2), "start", "<", checksum=True).index_range(100) == (0, 68)
    with pytest.raises(CorruptError):
        LAYOUT.index_range(63)


def test_ranges_outside_the_shard() -> None:
    index = LAYOUT.decode_index(INDEX, 36)
    with pytest.raises(CorruptError, match="outside"):
        index.range_of((0, 0))
    assert index.range_of((1, 1)) == (0, 32)


def test_an_index_of_another_length() -> None:
    with pytest.raises(CorruptError):
        LAYOUT.decode_index(INDEX[:-1], 101)


def test_big_endian_and_defaults() -> None:
    configuration = {
        "chunk_shape": [2, 3],
        "index_codecs": [{"name": "bytes", "configuration": {"endian": "big"}}, "crc32c"],
    }
    layout = parse_shard_layout(configuration, (4, 3))
    assert layout == ShardLayout((2, 1), "end", ">", checksum=True)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"chunk_shape": [3, 3]}, InvalidMetadataError),
        ({"chunk_shape": [2]}, InvalidMetadataError),
        ({"chunk_shape": [0, 3]}, InvalidMetadataError),
        ({"index_location": "middle"}, InvalidMetadataError),
        ({"index_codecs": [{"name": "bytes"}, {"name": "gzip"}]}, UnsupportedError),
        ({"index_codecs": []}, UnsupportedError),
    ],
)
def test_what_is_refused(changes: dict[str, object], error: type[Exception]) -> None:
    configuration = {"chunk_shape": [2, 3], "index_codecs": ["bytes"]} | changes
    with pytest.raises(error):
        parse_shard_layout(configuration, (4, 3))


def test_an_index_beyond_any_bound() -> None:
    configuration = {"chunk_shape": [1], "index_codecs": ["bytes"]}
    with pytest.raises(UnsupportedError):
        parse_shard_layout(configuration, (1 << 40,))
