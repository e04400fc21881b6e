"""Grids, chunk keys, dtypes and codecs computed from documents."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.suites.documents import BIG, KEY_STYLES, LITTLE, V2_GROUP, v2_array, v3_array
from zarrfs.errors import InvalidChunkIndexError, InvalidMetadataError, UnsupportedError
from zarrfs.zarr_format.data_types import data_type_text, item_size
from zarrfs.zarr_format.documents import Document, Json, ZarrFormat
from zarrfs.zarr_format.layout import ArrayLayout, array_layout

SHARDED: list[Json] = [
    {
        "name": "sharding_indexed",
        "configuration": {
            "chunk_shape": [5, 2],
            "codecs": [*LITTLE, "zstd"],
            "index_codecs": LITTLE,
        },
    }
]


def layout(document: Document) -> ArrayLayout:
    return array_layout(document, "a")


@pytest.mark.parametrize("style", KEY_STYLES)
def test_keys_and_indices(style: str) -> None:
    document, keys = KEY_STYLES[style]
    found = layout(document)
    for index, key in keys.items():
        assert found.chunk_key(index) == key
        assert found.chunk_index(key) == index
        assert found.contains(index)
        found.check_index(index, "a")
    assert found.chunk_index("zarr.json") is None
    beyond = tuple(found.grid_shape)
    if beyond:
        assert found.chunk_index(found.chunk_key(beyond)) is None


def test_a_v2_array() -> None:
    found = layout(
        v2_array([40, 31], [10, 10], ">i4", order="F", filters=[{"id": "delta"}], fill_value=7)
    )
    assert (found.zarr_format, found.shape, found.rank) == (2, (40, 31), 2)
    assert (found.chunk_shape, found.grid_shape, found.chunk_count) == ((10, 10), (4, 4), 16)
    assert (found.dtype, found.itemsize, found.order) == (">i4", 4, "F")
    assert found.codecs == ("delta", "zlib")
    assert (found.size_bytes, found.chunk_size_bytes) == (40 * 31 * 4, 400)
    assert (found.fill_value, found.dimension_names, found.is_sharded) == (7, None, False)


def test_a_sharded_v3_array() -> None:
    found = layout(
        v3_array([40, 31], [10, 10], "int16", codecs=SHARDED, dimension_names=["y", None])
    )
    assert found.codecs == ("sharding_indexed(bytes, zstd)",)
    assert found.is_sharded
    assert found.inner_chunk_shape == (5, 2)
    assert found.dimension_names == ("y", None)
    assert (found.itemsize, found.order) == (2, "C")


@pytest.mark.parametrize(
    ("rank", "order", "expected"),
    [(2, [1, 0], "F"), (3, [2, 1, 0], "F"), (2, "F", "F"), (3, [1, 0, 2], "C"), (1, [0], "C")],
)
def test_transposed_orders(rank: int, order: Json, expected: str) -> None:
    transpose: Json = {"name": "transpose", "configuration": {"order": order}}
    document = v3_array([4] * rank, [2] * rank, codecs=[transpose, *LITTLE])
    assert layout(document).order == expected


@pytest.mark.parametrize(
    ("shape", "chunks", "grid"),
    [
        ([], [], ()),
        ([0, 5], [2, 2], (0, 3)),
        ([0, 5], [0, 2], (0, 3)),
        ([3], [10], (1,)),
        ([4.0], [2.0], (2,)),
        ([10**18], [1], (10**18,)),
    ],
)
def test_grids(shape: Json, chunks: Json, grid: tuple[int, ...]) -> None:
    assert layout({**v2_array([], []), "shape": shape, "chunks": chunks}).grid_shape == grid


def test_a_rectilinear_grid() -> None:
    grid: Json = {
        "name": "rectilinear",
        "configuration": {"kind": "inline", "chunk_shapes": [4, [[1, 3], 7], [[1, 10**15]]]},
    }
    found = layout(v3_array([9, 10, 10**15], [], chunk_grid=grid))
    assert found.grid_shape == (3, 4, 10**15)
    assert found.chunk_shape == (4, 7, 1)
    assert found.chunk_runs == (((4, 3),), ((1, 3), (7, 1)), ((1, 10**15),))
    assert found.chunk_size_bytes is None


@pytest.mark.parametrize(
    ("encoding", "key"),
    [("default", "c/0/1"), ({"name": "default"}, "c/0/1"), ({"name": "v2"}, "0.1")],
)
def test_encodings_without_configuration(encoding: Json, key: str) -> None:
    document = v3_array([4, 4], [2, 2], chunk_key_encoding=encoding)
    assert layout(document).chunk_key((0, 1)) == key


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": None},
        {"shape": [-1]},
        {"shape": [True]},
        {"shape": [1.5]},
        {"shape": [float("nan")]},
        {"shape": "4"},
        {"chunks": [1, 1]},
        {"chunks": [0]},
        {"dimension_separator": "-"},
    ],
)
def test_v2_documents_without_a_layout(changes: Document) -> None:
    with pytest.raises(InvalidMetadataError) as caught:
        layout({**v2_array([4], [2]), **changes})
    assert caught.value.subject == "a"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"chunk_grid": {"name": "hexagonal"}}, UnsupportedError),
        ({"chunk_grid": None}, UnsupportedError),
        ({"chunk_key_encoding": {"name": "fanout"}}, UnsupportedError),
        ({"chunk_grid": {"name": "regular"}}, InvalidMetadataError),
        (
            {"chunk_grid": {"name": "rectilinear", "configuration": {"chunk_shapes": [[]]}}},
            InvalidMetadataError,
        ),
        (
            {"chunk_key_encoding": {"name": "v2", "configuration": {"separator": 1}}},
            InvalidMetadataError,
        ),
    ],
)
def test_v3_documents_without_a_layout(changes: Document, error: type[Exception]) -> None:
    with pytest.raises(error):
        layout({**v3_array([4], [2]), **changes})


def test_a_group_has_no_layout() -> None:
    with pytest.raises(InvalidMetadataError):
        layout(V2_GROUP)


@pytest.mark.parametrize("index", [(4, 0), (0, 4), (-1, 0), (0,), (0, 0, 0)])
def test_indices_outside_the_grid(index: tuple[int, ...]) -> None:
    found = layout(v2_array([40, 40], [10, 10]))
    assert not found.contains(index)
    with pytest.raises(InvalidChunkIndexError) as caught:
        found.check_index(index, "a")
    assert caught.value.index == index


@pytest.mark.parametrize(
    ("dtype", "zarr_format", "size", "text"),
    [
        ("<f8", 2, 8, "<f8"),
        ("|b1", 2, 1, "|b1"),
        ("<U5", 2, 20, "<U5"),
        ("|S5", 2, 5, "|S5"),
        ("|V0", 2, 0, "|V0"),
        ("<M8[ns]", 2, 8, "<M8[ns]"),
        ("<M8", 2, 8, "<M8"),
        ("|O", 2, None, "|O"),
        ("int32", 2, None, "int32"),
        ([["a", "<i4"], ["b", "|S3", [2]]], 2, 10, '[["a","<i4"],["b","|S3",[2]]]'),
        ([["a", "<i4"], ["b", "|O"]], 2, None, '[["a","<i4"],["b","|O"]]'),
        ([["a", [["x", "<f4"]]], ["b", "<i2", 3]], 2, 10, '[["a",[["x","<f4"]]],["b","<i2",3]]'),
        (None, 2, None, "null"),
        ("bool", 3, 1, "bool"),
        ("complex128", 3, 16, "complex128"),
        ("r24", 3, 3, "r24"),
        ("float8_e4m3", 3, 1, "float8_e4m3"),
        ("string", 3, None, "string"),
        ({"name": "int8"}, 3, 1, "int8"),
        (
            {"name": "fixed_length_utf32", "configuration": {"length_bytes": 8}},
            3,
            8,
            "fixed_length_utf32[length_bytes=8]",
        ),
        (
            {
                "name": "structured",
                "configuration": {"fields": [["a", "int32"], {"name": "b", "data_type": "r8"}]},
            },
            3,
            5,
            'structured[fields=[["a","int32"],{"name":"b","data_type":"r8"}]]',
        ),
    ],
)
def test_dtypes(dtype: Json, zarr_format: ZarrFormat, size: int | None, text: str) -> None:
    assert item_size(dtype, zarr_format) == size
    assert data_type_text(dtype) == text


def test_unknown_codecs_and_fill_values_do_not_matter() -> None:
    found = layout(
        v3_array([4], [2], "example.type", codecs=["example.codec", *BIG], fill_value={"a": 1})
    )
    assert found.codecs == ("example.codec", "bytes")
    assert found.itemsize is None


def test_a_layout_needs_no_metadata_package() -> None:
    program = (
        "import sys; from zarrfs.zarr_format import layout, keys, documents, models;"
        "print(sorted({'zarr_metadata', 'numpy', 'pydantic', 'zarr'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout == "[]\n"
