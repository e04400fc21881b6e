"""What well-known readers can read of an array: the rules that `zarrfs info` shows.

Each rule is what the client tests found (docs/tools.md), as far as a document
tells it. Owns the rules; which view would help is `support`'s business. Pure;
safe from any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from zarrfs.errors import ZarrfsError
from zarrfs.zarr_format import dtypes
from zarrfs.zarr_format.dtypes import Json, named

_NUMBERS: Final = "iuf"


class Traits(NamedTuple):
    """What decides whether a reader can read an array."""

    zarr_format: int
    kind: str
    """numpy's letter for the data type; `O` for items of variable length."""
    item_bytes: int
    big_endian: bool
    c_order: bool
    sharded: bool
    codecs: frozenset[str]
    """Codec ids without the prefix `numcodecs.`, those inside shards included."""
    compressor: str
    """v2's own member; its other codecs are filters."""
    rank: int


def traits_of(document: Mapping[str, Json]) -> Traits:
    """Read an array's document. Raises: UnsupportedError, InvalidMetadataError."""
    return _v2(document) if document.get("zarr_format") == 2 else _v3(document)


def _v2(document: Mapping[str, Json]) -> Traits:
    filters = document.get("filters") or []
    compressor = (document.get("compressor") or {}).get("id", "")
    data_type = dtypes.parse_v2(document.get("dtype"), filters)
    little = data_type.with_byte_order("<").numpy == data_type.numpy
    rank = len(document["shape"])
    return Traits(
        2,
        "O" if data_type.variable else data_type.numpy.kind,
        data_type.item_bytes,
        not little,
        document.get("order") != "F" or rank < 2,
        False,
        frozenset(f["id"] for f in filters) | ({compressor} if compressor else frozenset()),
        compressor,
        rank,
    )


def _v3(document: Mapping[str, Json]) -> Traits:
    data_type = dtypes.parse_v3(document.get("data_type"))
    names: set[str] = set()
    big = False
    pending = list(document.get("codecs") or ())
    while pending:
        name, configuration = named(pending.pop(), "codecs")
        names.add(name.removeprefix("numcodecs."))
        big = big or (name == "bytes" and configuration.get("endian") == "big")
        pending += configuration.get("codecs") or ()
    return Traits(
        3,
        "O" if data_type.variable else data_type.numpy.kind,
        data_type.item_bytes,
        big and data_type.has_byte_order,
        "transpose" not in names,
        "sharding_indexed" in names,
        frozenset(names),
        "",
        len(document["shape"]),
    )


@dataclass(frozen=True, slots=True)
class Reader:
    """A program or library. `refuses` says why it cannot read an array, or ""."""

    name: str
    refuses: Callable[[Traits], str]
    fails_at: Callable[[Traits], bool] = lambda _traits: False
    """Whether one such array keeps it from reading the whole store."""

    def count(self, documents: Sequence[Mapping[str, Json]]) -> int:
        """Return how many arrays of a store it reads."""
        if any(self._fails(document) for document in documents):
            return 0
        return sum(map(self.reads, documents))

    def _fails(self, document: Mapping[str, Json]) -> bool:
        try:
            return self.fails_at(traits_of(document))
        except (ZarrfsError, KeyError, TypeError, AttributeError):
            return False

    def reads(self, document: Mapping[str, Json]) -> bool:
        try:
            return not self.refuses(traits_of(document))
        except (ZarrfsError, KeyError, TypeError, AttributeError):
            return False


def _first(*reasons: tuple[bool, str]) -> str:
    return next((reason for wrong, reason in reasons if wrong), "")


def _zarr_python_2(t: Traits) -> str:
    return _first((t.zarr_format != 2, "it knows only v2"))


def _zarr_python_3(t: Traits) -> str:
    return _first((t.zarr_format == 2 and "base64" in t.codecs, "base64 is not registered"))


def _gdal_36(t: Traits) -> str:
    known = {"blosc", "zlib", "gzip", "zstd", "lz4", "lzma", "delta"}
    return _first(
        (t.zarr_format != 2, "it reads only v2"),
        (not t.codecs <= known, "it lacks a codec"),
        (t.kind not in "iufbSU" or (t.kind == "f" and t.item_bytes == 2), "it lacks the type"),
    )


def _netcdf_49(t: Traits) -> str:
    return _first(
        (t.zarr_format != 2, "it reads only v2"),
        (bool(t.codecs), "it reads compressed chunks as garbage"),
        (t.big_endian or not t.c_order, "it reads another order as garbage"),
        (_netcdf_49_crashes(t), "it crashes at the type"),
        (t.rank == 0, "it cannot read an array of no dimensions"),
    )


def _netcdf_49_crashes(t: Traits) -> bool:
    """A data type that it does not know ends the program, whatever else is there."""
    return t.zarr_format == 2 and (t.kind not in _NUMBERS or (t.kind == "f" and t.item_bytes == 2))


def _tensorstore(t: Traits) -> str:
    core = {"bytes", "transpose", "gzip", "zstd", "blosc", "crc32c", "sharding_indexed"}
    v2 = {"blosc", "zlib", "gzip", "zstd", "bz2"}
    known = core if t.zarr_format == 3 else v2
    filters = t.zarr_format == 2 and t.codecs - {t.compressor}
    return _first(
        (not t.codecs <= known or bool(filters), "it lacks a codec"),
        (
            t.kind not in "biufc" and not (t.zarr_format == 2 and t.kind in "SV"),
            "it lacks the type",
        ),
    )


def _zarrita(t: Traits) -> str:
    lacking = {"bz2", "lzma", "packbits", "quantize", "crc32", "adler32", "fletcher32", "astype"}
    if t.zarr_format == 3:
        lacking |= {"delta", "fixedscaleoffset", "bitround", "shuffle", "lz4", "vlen-bytes"}
    return _first(
        (bool(t.codecs & lacking), "it lacks a codec"),
        (t.kind not in "biufSUO" or (t.kind == "f" and t.item_bytes == 2), "it lacks the type"),
        (t.zarr_format == 3 and t.kind == "U", "it lacks the type"),
    )


def _z5py(t: Traits) -> str:
    known = {"blosc", "zlib", "gzip", "zstd", "bz2", "bytes", "sharding_indexed", "crc32c"}
    return _first(
        (not t.codecs <= known or ("crc32c" in t.codecs and not t.sharded), "it lacks a codec"),
        (t.big_endian or not t.c_order, "it reads another order wrongly"),
        (t.kind not in _NUMBERS or (t.kind == "f" and t.item_bytes == 2), "it lacks the type"),
        (t.rank == 0, "it cannot read an array of no dimensions"),
    )


READERS: Final = (
    Reader("zarr-python 2.18", _zarr_python_2),
    Reader("zarr-python 3", _zarr_python_3),
    Reader("tensorstore", _tensorstore),
    Reader("zarrita", _zarrita),
    Reader("GDAL 3.6", _gdal_36),
    Reader("netCDF-C 4.9", _netcdf_49, _netcdf_49_crashes),
    Reader("z5py", _z5py),
)
