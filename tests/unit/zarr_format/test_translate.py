"""Documents of one format in the words of the other."""

from __future__ import annotations

from typing import Any

import pytest

from zarrfs.errors import UnsupportedError
from zarrfs.zarr_format.translate import (
    array_to_v2,
    array_to_v3,
    group_to_v2,
    group_to_v3,
)
from zarrfs.zarr_format.translate_shards import unshard

ZARRAY: dict[str, Any] = {
    "zarr_format": 2, "shape": [6, 4], "chunks": [3, 2], "dtype": "<f4", "fill_value": "NaN",
    "compressor": None, "filters": None, "order": "C",
}  # fmt: skip
LITTLE = {"name": "bytes", "configuration": {"endian": "little"}}
BIG = {"name": "bytes", "configuration": {"endian": "big"}}
ARRAY: dict[str, Any] = {
    "zarr_format": 3, "node_type": "array", "shape": [6, 4], "data_type": "float32",
    "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [3, 2]}},
    "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
    "fill_value": "NaN", "codecs": [LITTLE], "attributes": {},
}  # fmt: skip


def codec(name: str, **configuration: Any) -> dict[str, Any]:
    return {"name": name, "configuration": configuration}


def v3(**changes: Any) -> dict[str, Any]:
    return array_to_v3(ZARRAY | changes, {})


def v2(**changes: Any) -> dict[str, Any]:
    return array_to_v2(ARRAY | changes).zarray


@pytest.mark.parametrize(
    ("dtype", "data_type"),
    [
        ("|b1", "bool"),
        ("|i1", "int8"),
        ("<u8", "uint64"),
        ("<f2", "float16"),
        ("<c16", "complex128"),
        ("<U4", codec("fixed_length_utf32", length_bytes=16)),
        ("|S3", codec("null_terminated_bytes", length_bytes=3)),
        ("|V7", codec("raw_bytes", length_bytes=7)),
        ("<M8[10s]", codec("numpy.datetime64", unit="s", scale_factor=10)),
        ("<m8[ns]", codec("numpy.timedelta64", unit="ns", scale_factor=1)),
        ([["a", "<i4"], ["b", "|S2"]], codec("structured", fields=[
            ["a", "int32"], ["b", codec("null_terminated_bytes", length_bytes=2)]])),
    ],
)  # fmt: skip
def test_data_types(dtype: Any, data_type: Any) -> None:
    assert v3(dtype=dtype, fill_value=None)["data_type"] == data_type
    assert (
        v2(data_type=data_type, fill_value=v3(dtype=dtype, fill_value=None)["fill_value"])["dtype"]
        == dtype
    )


def test_data_types_spelled_otherwise() -> None:
    fields = [{"name": "a", "data_type": "int32"}]
    struct = v2(data_type=codec("struct", fields=fields), fill_value={"a": 3})
    assert (struct["dtype"], struct["fill_value"]) == ([["a", "<i4"]], "AwAAAA==")
    assert v2(data_type="r24", fill_value=[1, 2, 3])["dtype"] == "|V3"


@pytest.mark.parametrize(
    ("in_v2", "in_v3"),
    [
        ({"dtype": ">f4"}, [BIG]),
        ({"dtype": "|u1", "fill_value": 0}, [{"name": "bytes"}]),
        ({"order": "F"}, [codec("transpose", order=[1, 0]), LITTLE]),
        ({"compressor": {"id": "gzip", "level": 3}}, [LITTLE, codec("gzip", level=3)]),
        (
            {"compressor": {"id": "zstd", "level": 3}},
            [LITTLE, codec("zstd", level=3, checksum=False)],
        ),
        (
            {"compressor": {"id": "zstd", "level": 3, "checksum": True}},
            [LITTLE, codec("zstd", level=3, checksum=True)],
        ),
        (
            {"compressor": {
                "id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 2, "blocksize": 0}},
            [LITTLE, codec("blosc", cname="lz4", clevel=5, shuffle="bitshuffle", typesize=4,
                           blocksize=0)],
        ),
        (
            {"filters": [{"id": "delta", "dtype": "<f4", "astype": "<f4"}],
             "compressor": {"id": "zlib", "level": 1}},
            [codec("numcodecs.delta", dtype="<f4", astype="<f4"), LITTLE,
             codec("numcodecs.zlib", level=1)],
        ),
        (
            {"filters": [{"id": "shuffle", "elementsize": 4}, {"id": "crc32c"}]},
            [LITTLE, codec("numcodecs.shuffle", elementsize=4), {"name": "crc32c"}],
        ),
        (
            {"dtype": "|O", "fill_value": "", "filters": [{"id": "vlen-utf8"}]},
            [{"name": "vlen-utf8"}],
        ),
    ],
)  # fmt: skip
def test_codecs_both_ways(in_v2: dict[str, Any], in_v3: list[Any]) -> None:
    document = v3(**in_v2)
    assert document["codecs"] == in_v3
    back = array_to_v2(document).zarray
    assert back == ZARRAY | in_v2 | {"dimension_separator": "."}


@pytest.mark.parametrize(
    ("shuffle", "dtype", "name"),
    [(-1, "|u1", "bitshuffle"), (-1, "<f4", "shuffle"), (0, "<f4", "noshuffle")],
)
def test_blosc_chooses_a_shuffle(shuffle: int, dtype: str, name: str) -> None:
    compressor = {"id": "blosc", "cname": "zstd", "clevel": 1, "shuffle": shuffle}
    codecs = v3(dtype=dtype, fill_value=0, compressor=compressor)["codecs"]
    assert codecs[-1]["configuration"]["shuffle"] == name


def test_a_compressor_comes_back_as_it_was_spelled() -> None:
    """tensorstore compares documents member by member, shuffle -1 among them."""
    compressor = {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": -1, "blocksize": 0}
    there = v3(compressor=compressor)
    assert array_to_v2(there).zarray["compressor"] == compressor
    changed = there | {"codecs": [LITTLE, codec("gzip", level=1)]}
    assert array_to_v2(changed).zarray["compressor"] == {"id": "gzip", "level": 1}


@pytest.mark.parametrize(
    "changes",
    [
        {"codecs": [codec("transpose", order=[1, 0]), codec("numcodecs.pcodec")]},
        {"codecs": [LITTLE, codec("unheard-of")]},
        {"fill_value": "0x7fc00001"},
        {"codecs": [codec("numcodecs.delta", dtype="<f4"), BIG]},
        {"shape": [2, 2, 2], "codecs": [codec("transpose", order=[1, 2, 0]), LITTLE]},
        {"chunk_grid": codec("rectilinear", kind="inline", chunk_shapes=[[6], [4]])},
    ],
)
def test_what_v2_cannot_say(changes: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedError):
        array_to_v2(ARRAY | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"filters": [{"id": "shuffle"}, {"id": "delta", "dtype": "<f4"}]},
        {"filters": [{"id": "delta", "dtype": "<i4"}]},
        {"filters": [{"id": "base64"}]},
        {"dtype": "|O", "filters": [{"id": "json2"}]},
        {"dtype": "|O", "filters": None},
        {"dtype": [["a", ">i4"]], "fill_value": None},
        {"dtype": [["a", "<i4", [2]]], "fill_value": None},
        {"compressor": {"id": "crc32c", "location": "start"}},
    ],
)
def test_what_v3_cannot_say(changes: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedError):
        v3(**changes)


@pytest.mark.parametrize(
    ("dtype", "in_v2", "in_v3"),
    [
        ("<f8", "-Infinity", "-Infinity"),
        ("<f8", -0.0, -0.0),
        ("|b1", True, True),
        ("<c8", [1.0, "NaN"], [1.0, "NaN"]),
        ("|S2", "YQ==", "YQ=="),
        ("<U2", "ü", "ü"),
        ("<M8[s]", -9223372036854775808, -9223372036854775808),
        ("<u8", (1 << 64) - 1, (1 << 64) - 1),
    ],
)
def test_fill_values(dtype: str, in_v2: Any, in_v3: Any) -> None:
    document = v3(dtype=dtype, fill_value=in_v2)
    assert repr(document["fill_value"]) == repr(in_v3)
    assert repr(array_to_v2(document).zarray["fill_value"]) == repr(in_v2)


def test_keys() -> None:
    assert v3(dimension_separator="/")["chunk_key_encoding"] == codec("v2", separator="/")
    assert v2()["dimension_separator"] == "/"
    assert v2(chunk_key_encoding={"name": "v2"})["dimension_separator"] == "."
    assert v2(chunk_key_encoding={"name": "default"})["dimension_separator"] == "/"


def test_dimension_names() -> None:
    document = array_to_v3(ZARRAY, {"_ARRAY_DIMENSIONS": ["y", "x"], "a": 1})
    assert (document["dimension_names"], document["attributes"]) == (["y", "x"], {"a": 1})
    assert array_to_v2(document).zattrs == {"_ARRAY_DIMENSIONS": ["y", "x"], "a": 1}
    assert array_to_v2(ARRAY | {"dimension_names": ["y", None]}).zattrs == {}
    odd = array_to_v3(ZARRAY, {"_ARRAY_DIMENSIONS": ["y"]})
    assert "dimension_names" not in odd
    assert odd["attributes"] == {"_ARRAY_DIMENSIONS": ["y"]}


def test_groups() -> None:
    group = group_to_v3({"a": 1})
    assert group == {"zarr_format": 3, "node_type": "group", "attributes": {"a": 1}}
    assert group_to_v2(group) == ({"zarr_format": 2}, {"a": 1})


def sharded(**configuration: Any) -> dict[str, Any]:
    defaults = {"codecs": [LITTLE], "index_codecs": [LITTLE, "crc32c"]}
    return codec("sharding_indexed", **(defaults | configuration))


def test_nested_shards_with_transposes() -> None:
    """Two levels, each with a transpose: chunks are found along the array's axes."""
    inner = sharded(chunk_shape=[1, 2], codecs=[codec("transpose", order=[1, 0]), LITTLE])
    outer = sharded(chunk_shape=[4, 6], codecs=[codec("transpose", order=[1, 0]), inner])
    grid = {"name": "regular", "configuration": {"chunk_shape": [12, 8]}}
    document = ARRAY | {
        "shape": [24, 16], "chunk_grid": grid,
        "codecs": [codec("transpose", order=[1, 0]), outer],
    }  # fmt: skip
    found = unshard(document)
    # A shard is 12 x 8, transposed 8 x 12; its inner chunks 4 x 6, transposed 6 x 4.
    first, second = found.levels
    assert (first.axes, first.per_shard) == ((1, 0), (2, 2))
    assert (second.axes, second.per_shard) == ((0, 1), (6, 2))
    assert found.document["chunk_grid"]["configuration"] == {"chunk_shape": [1, 2]}
    assert found.document["codecs"] == [codec("transpose", order=[1, 0]), LITTLE]
    for index in ((0, 0), (5, 3), (13, 7)):
        outer_index, place = second.split(index)
        assert second.join(outer_index, place) == index


@pytest.mark.parametrize(
    "codecs",
    [
        [sharded(chunk_shape=[3, 1]), codec("gzip", level=1)],
        [codec("numcodecs.delta", dtype="<f4"), sharded(chunk_shape=[3, 1])],
    ],
)
def test_shards_that_are_no_ranges(codecs: list[Any]) -> None:
    with pytest.raises(UnsupportedError):
        unshard(ARRAY | {"codecs": codecs})
