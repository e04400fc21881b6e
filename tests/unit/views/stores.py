"""Real stores for the tests of views, written by zarr-python 3, and how to read them.

Each writer fills a backend and returns what each array holds. The values are
chosen to show what goes wrong: NaN with payloads, -0.0, extremes, edge chunks,
chunks that were never written.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numcodecs
import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import (
    BloscCodec,
    BytesCodec,
    Crc32cCodec,
    GzipCodec,
    ShardingCodec,
    TransposeCodec,
    ZstdCodec,
)
from zarr.storage import MemoryStore

from tests.suites.dict_backend import DictBackend
from zarrfs.storage.backend import Backend, Key

Array = npt.NDArray[Any]
Arrays = dict[str, Array]

SHAPE = (5, 7)
CHUNKS = (2, 3)

NUMBERS = ("bool", "i1", "u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8")
OTHERS = ("<c8", "<c16", "<U4", "S3", "V5", "<M8[10s]", "<m8[ns]")


def values(dtype: Any, shape: tuple[int, ...] = SHAPE, seed: int = 7) -> Array:
    """Values of a type, special ones among them."""
    dtype = np.dtype(dtype)
    rng = np.random.default_rng(seed)
    count = int(np.prod(shape))
    if dtype.kind == "U":
        return np.array(["", "a", "grün", "ß€"], dtype)[rng.integers(0, 4, shape)]
    if dtype.kind == "S":
        return np.array([b"", b"a", b"xyz"], dtype)[rng.integers(0, 3, shape)]
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    data = np.frombuffer(rng.bytes(count * dtype.itemsize), dtype).copy()
    if dtype.kind == "f":
        data = (rng.normal(size=count) * 50).astype(dtype)
        special = [np.nan, -0.0, np.inf, -np.inf, np.finfo(dtype).tiny]
        data[: min(5, count)] = special[: min(5, count)]
    return data.reshape(shape)


def quiet_zarr() -> warnings.catch_warnings[Any]:
    """zarr-python warns of everything that its specification does not hold."""
    caught = warnings.catch_warnings()
    caught.__enter__()
    warnings.simplefilter("ignore")
    return caught


class Writer:
    """Makes arrays in a store and remembers what they hold."""

    def __init__(self, zarr_format: int) -> None:
        self.zarr_format = zarr_format
        self.store = MemoryStore()
        self.arrays: Arrays = {}
        self.root = zarr.create_group(self.store, zarr_format=zarr_format)

    def add(
        self, name: str, data: Array, *, chunks: tuple[int, ...] | None = None, **how: Any
    ) -> Any:
        chunks = CHUNKS[: data.ndim] if chunks is None else chunks
        array = self.root.create_array(
            name, shape=data.shape, chunks=chunks, dtype=data.dtype, **how
        )
        if data.size:
            array[...] = data
        self.arrays[name] = data
        return array

    def backend(self) -> DictBackend:
        backend = DictBackend()
        for key, value in self.store._store_dict.items():
            backend.set(Key(key), value.to_bytes())
        return backend


def write_v3() -> tuple[DictBackend, Arrays]:
    """Every data type, codec, key encoding, order and fill value of v3."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        writer = Writer(3)
        _add_types(writer)
        _add_codecs_v3(writer)
        _add_shapes(writer)
        _add_shards(writer)
        return writer.backend(), writer.arrays


def write_v2() -> tuple[DictBackend, Arrays]:
    """Every data type, codec, separator, order and fill value of v2."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        writer = Writer(2)
        _add_types(writer)
        for dtype in (">i4", ">f8", ">U3", ">M8[s]", ">c16"):
            writer.add(f"types/{dtype[1:].replace('[', '_').strip(']')}_big", values(dtype))
        _add_codecs_v2(writer)
        _add_shapes(writer)
        return writer.backend(), writer.arrays


def _add_types(writer: Writer) -> None:
    for dtype in (*NUMBERS, *OTHERS):
        name = np.dtype(dtype).str.strip("<>|").replace("[", "_").strip("]")
        writer.add(f"types/{name}", values(dtype))
    record = np.dtype([("a", "<i4"), ("b", "<f8"), ("c", "S2")])
    writer.add("types/record", values(record, (5,)), chunks=(2,))
    text = np.array(["one", "", "grün", "four", "5"], object)
    strings = writer.root.create_array("types/string", shape=(5,), chunks=(2,), dtype="string")
    strings[...] = text
    writer.arrays["types/string"] = text


def _add_shapes(writer: Writer) -> None:
    writer.add("shapes/scalar", np.array(42.5), chunks=())
    writer.add("shapes/empty", np.zeros((0, 3)), chunks=(1, 2))
    writer.add("shapes/line", np.arange(10, dtype="<i2"), chunks=(4,))
    writer.add("shapes/cube", values("<u2", (3, 4, 5)), chunks=(2, 3, 2))
    holes = np.full((6, 6), -9.5, "<f4")
    array = writer.root.create_array(
        "shapes/holes", shape=(6, 6), chunks=(2, 2), dtype="<f4", fill_value=-9.5
    )
    array[2:4, 2:4] = holes[2:4, 2:4] = 1.25
    writer.arrays["shapes/holes"] = holes
    never = writer.root.create_array(
        "shapes/never", shape=(3,), chunks=(2,), dtype="<f8", fill_value=np.nan
    )
    writer.arrays["shapes/never"] = np.full(3, np.nan)
    never.attrs.update({"units": "m", "nested": {"list": [1, 2.5, None], "text": "grün"}})
    writer.root.attrs.update({"title": "a store"})


def _add_codecs_v3(writer: Writer) -> None:
    import zarr.codecs.numcodecs as extra

    ints, floats = values("<i4"), values("<f8")
    add = writer.add
    add("codecs/none", ints, compressors=None)
    add("codecs/blosc", floats, compressors=BloscCodec(cname="lz4", shuffle="bitshuffle"))
    add("codecs/zstd", floats, compressors=ZstdCodec(level=3, checksum=True))
    add("codecs/gzip", ints, compressors=GzipCodec(level=5))
    add("codecs/crc32c", ints, compressors=[ZstdCodec(), Crc32cCodec()])
    add("codecs/big", ints, serializer=BytesCodec(endian="big"), compressors=GzipCodec())
    for codec in (extra.Zlib(), extra.LZ4(), extra.BZ2(), extra.LZMA()):
        add(f"codecs/{codec.codec_name[10:]}", floats, compressors=codec)
    add("codecs/shuffle", ints, compressors=[extra.Shuffle(elementsize=4), GzipCodec()])
    add("codecs/delta", ints, filters=[extra.Delta(dtype="<i4")])
    add(
        "codecs/fixedscaleoffset",
        np.round(values("<u1").astype("<f8"), 1),
        filters=[extra.FixedScaleOffset(offset=0, scale=10, dtype="<f8", astype="<i4")],
    )
    add("order/f", floats, filters=[TransposeCodec(order=(1, 0))])
    add("order/mixed", values("<i2", (3, 4, 5)), chunks=(2, 2, 2),
        filters=[TransposeCodec(order=(2, 0, 1))])  # fmt: skip
    for name, separator in (("default", "."), ("default", "/"), ("v2", "."), ("v2", "/")):
        encoding = {"name": name, "separator": separator}
        label = f"keys/{name}_{'dot' if separator == '.' else 'slash'}"
        add(label, ints, chunk_key_encoding=encoding, dimension_names=["y", "x"])


def _add_codecs_v2(writer: Writer) -> None:
    ints, floats = values("<i4"), values("<f8")
    add = writer.add
    add("codecs/none", ints, compressors=None)
    codecs = {
        "blosc": numcodecs.Blosc(shuffle=2),
        "zstd": numcodecs.Zstd(3),
        "gzip": numcodecs.GZip(5),
        "zlib": numcodecs.Zlib(5),
        "lz4": numcodecs.LZ4(),
        "bz2": numcodecs.BZ2(),
        "lzma": numcodecs.LZMA(),
    }
    for name, codec in codecs.items():
        add(f"codecs/{name}", floats, compressors=codec)
    add("codecs/shuffle", ints, filters=[numcodecs.Shuffle(4)], compressors=numcodecs.Zlib())
    add("codecs/delta", ints, filters=[numcodecs.Delta("<i4")], compressors=numcodecs.Zlib())
    add("codecs/delta_big", ints.astype(">i4"), filters=[numcodecs.Delta(">i4")])
    add("codecs/packbits", values("bool"), filters=[numcodecs.PackBits()])
    add("codecs/crc32", ints, filters=[numcodecs.CRC32()], compressors=None)
    add(
        "codecs/fixedscaleoffset",
        np.round(values("<u1").astype("<f8"), 1),
        filters=[numcodecs.FixedScaleOffset(0, 10, "<f8", "<i4")],
    )
    backwards = [numcodecs.Shuffle(4), numcodecs.Delta("<i4")]
    add("codecs/backwards", ints, filters=backwards)
    add("order/f", floats, order="F")
    for name, separator in (("dot", "."), ("slash", "/")):
        encoding = {"name": "v2", "separator": separator}
        array = add(f"keys/{name}", ints, chunk_key_encoding=encoding)
        array.attrs["_ARRAY_DIMENSIONS"] = ["y", "x"]


def _add_shards(writer: Writer) -> None:
    data = values("<f4", (10, 13))
    data[:4, :6] = 0  # whole inner chunks of the fill value are not stored
    index_codecs = [BytesCodec(), Crc32cCodec()]
    inner = [BytesCodec(), ZstdCodec()]
    for location in ("start", "end"):
        sharding = ShardingCodec(
            chunk_shape=(2, 3), codecs=inner, index_codecs=index_codecs, index_location=location
        )
        _add_sharded(writer, f"shards/{location}", data, sharding)
    unchecked = ShardingCodec(chunk_shape=(2, 3), codecs=inner, index_codecs=[BytesCodec()])
    _add_sharded(writer, "shards/unchecked", data, unchecked)
    nested = ShardingCodec(
        chunk_shape=(4, 6), codecs=[ShardingCodec(chunk_shape=(2, 2), codecs=inner)]
    )
    _add_sharded(writer, "shards/nested", data, nested, chunks=(8, 12))
    transposed = [TransposeCodec(order=(1, 0)), BytesCodec(), GzipCodec()]
    f_order = ShardingCodec(chunk_shape=(2, 3), codecs=transposed)
    _add_sharded(writer, "shards/f_order", data, f_order)


def _add_sharded(
    writer: Writer, name: str, data: Array, codec: Any, chunks: tuple[int, ...] = (4, 6)
) -> None:
    array = writer.root.create_array(
        name, shape=data.shape, chunks=chunks, dtype=data.dtype, fill_value=0,
        serializer=codec, compressors=None, filters=None,
    )  # fmt: skip
    array[...] = data
    writer.arrays[name] = data


def read_group(backend: Backend) -> zarr.Group:
    """Open what a backend shows with zarr-python, which sees keys and nothing else."""
    return zarr.open_group(copied(backend), mode="r", use_consolidated=False)


def copied(backend: Backend) -> MemoryStore:
    from zarr.core.buffer import default_buffer_prototype

    buffer = default_buffer_prototype().buffer
    keys = backend.list_keys(Key(""))
    return MemoryStore({key: buffer.from_bytes(bytes(backend.get(key))) for key in keys})


def read_all(backend: Backend) -> Iterator[tuple[str, Array]]:
    """Yield every array that a backend shows, read by zarr-python."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, node in read_group(backend).members(max_depth=None):
            if isinstance(node, zarr.Array):
                yield name, np.asarray(node[...])


def assert_same(read: Array, expected: Array, name: str) -> None:
    """Equal bit for bit, whatever the byte order."""
    if expected.dtype == object:
        assert read.astype(object).tolist() == expected.tolist(), name
        return
    native = expected.dtype.newbyteorder("=")
    assert read.dtype.newbyteorder("=") == native, (name, read.dtype, expected.dtype)
    assert read.shape == expected.shape, name
    assert read.astype(native).tobytes() == expected.astype(native).tobytes(), (
        name,
        read,
        expected,
    )


def assert_all_same(backend: Backend, expected: Mapping[str, Array]) -> None:
    read = dict(read_all(backend))
    assert set(read) == set(expected), set(read) ^ set(expected)
    for name, data in expected.items():
        assert_same(read[name], data, name)
