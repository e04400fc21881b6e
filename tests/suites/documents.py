"""Metadata documents as several writers spell them, for tests of any layer."""

from __future__ import annotations

from collections.abc import Mapping

from zarrfs.zarr_format.documents import Document, Json


def v2_array(
    shape: list[int], chunks: list[int], dtype: Json = "<f8", **members: Json
) -> dict[str, Json]:
    return {
        "zarr_format": 2,
        "shape": shape,
        "chunks": chunks,
        "dtype": dtype,
        "compressor": {"id": "zlib", "level": 1},
        "fill_value": None,
        "order": "C",
        "filters": None,
        **members,
    }


def v3_array(
    shape: list[int],
    chunks: list[int],
    data_type: Json = "float64",
    *,
    encoding: str = "default",
    separator: str | None = None,
    **members: Json,
) -> dict[str, Json]:
    configuration: Document = {} if separator is None else {"separator": separator}
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": shape,
        "data_type": data_type,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunks}},
        "chunk_key_encoding": {"name": encoding, "configuration": configuration},
        "fill_value": 0,
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
        "attributes": {},
        **members,
    }


V2_GROUP: Document = {"zarr_format": 2}
V3_GROUP: Document = {"zarr_format": 3, "node_type": "group", "attributes": {}}

KEY_STYLES: Mapping[str, tuple[Document, Mapping[tuple[int, ...], str]]] = {
    "v2 .": (v2_array([40, 30], [10, 10]), {(0, 0): "0.0", (3, 2): "3.2"}),
    "v2 /": (
        v2_array([40, 30], [10, 10], dimension_separator="/"),
        {(0, 0): "0/0", (3, 2): "3/2"},
    ),
    "v2 1-d": (v2_array([101], [10]), {(0,): "0", (10,): "10"}),
    "v2 1-d /": (v2_array([101], [10], dimension_separator="/"), {(0,): "0", (10,): "10"}),
    "v2 0-d": (v2_array([], []), {(): "0"}),
    "v2 0-d /": (v2_array([], [], dimension_separator="/"), {(): "0"}),
    "v3": (v3_array([40, 30], [10, 10]), {(0, 0): "c/0/0", (3, 2): "c/3/2"}),
    "v3 .": (
        v3_array([40, 30], [10, 10], separator="."),
        {(0, 0): "c.0.0", (3, 2): "c.3.2"},
    ),
    "v3 1-d": (v3_array([101], [10]), {(0,): "c/0", (10,): "c/10"}),
    "v3 3-d": (v3_array([2, 2, 20], [1, 1, 1]), {(0, 0, 0): "c/0/0/0", (1, 1, 19): "c/1/1/19"}),
    "v3 0-d": (v3_array([], []), {(): "c"}),
    "v3 0-d .": (v3_array([], [], separator="."), {(): "c"}),
    "v3 as v2": (v3_array([40, 30], [10, 10], encoding="v2"), {(0, 0): "0.0", (3, 2): "3.2"}),
    "v3 as v2 /": (
        v3_array([40, 30], [10, 10], encoding="v2", separator="/"),
        {(0, 0): "0/0", (3, 2): "3/2"},
    ),
    "v3 as v2 0-d": (v3_array([], [], encoding="v2"), {(): "0"}),
}
"""An array's document, and the keys of some of its chunks: its first and its last."""

LITTLE: list[Json] = [{"name": "bytes", "configuration": {"endian": "little"}}]
BIG: list[Json] = [{"name": "bytes", "configuration": {"endian": "big"}}]

DTYPE_DOCUMENTS: Mapping[str, Document] = {
    "v2 big-endian": v2_array([4], [2], ">i4", fill_value=-1),
    "v2 structured": v2_array([4], [2], [["a", ">i2"], ["b", "|S3"], ["c", "<f4", [2, 2]]]),
    "v2 nested": v2_array([4], [2], [["p", [["x", "<f4"], ["y", ">f8"]]], ["ok", "|b1"]]),
    "v2 bytes": v2_array([4], [2], "|S5", fill_value="YWJjZGU="),
    "v2 unicode": v2_array([4], [2], ">U7", fill_value=""),
    "v2 object": v2_array([4], [2], "|O", filters=[{"id": "vlen-utf8"}], fill_value=""),
    "v2 datetime": v2_array([4], [2], ">M8[ns]", fill_value=-9223372036854775808),
    "v2 timedelta": v2_array([4], [2], "<m8[10s]", fill_value="NaT"),
    "v2 nan": v2_array([4], [2], "<f2", fill_value="NaN"),
    "v2 complex": v2_array([4], [2], "<c8", fill_value=["NaN", 1.5]),
    "v3 big-endian": v3_array([4], [2], "int32", codecs=BIG),
    "v3 structured": v3_array(
        [4],
        [2],
        {
            "name": "structured",
            "configuration": {"fields": [["a", "int16"], ["b", "float32"]]},
        },
        fill_value="AAAAAAAA",
        codecs=LITTLE,
    ),
    "v3 string": v3_array([4], [2], "string", fill_value="?", codecs=[{"name": "vlen-utf8"}]),
    "v3 fixed string": v3_array(
        [4],
        [2],
        {"name": "fixed_length_utf32", "configuration": {"length_bytes": 28}},
        fill_value="",
        codecs=BIG,
    ),
    "v3 datetime": v3_array(
        [4],
        [2],
        {"name": "numpy.datetime64", "configuration": {"unit": "ns", "scale_factor": 10}},
        fill_value="NaT",
    ),
    "v3 hex NaN": v3_array([4], [2], "float32", fill_value="0x7fc00001"),
    "v3 extension": v3_array(
        [4],
        [2],
        {"name": "example.tensor", "configuration": {"deep": [1, {"x": None}]}},
        fill_value={"any": "thing"},
        codecs=[{"name": "example.codec", "configuration": {"a": 1.5}}],
        example={"must_understand": False, "more": [1, 2]},
    ),
}
"""Dtypes and fill values that a careless reader would change."""
