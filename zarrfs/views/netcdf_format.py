"""The classic netCDF file layout: a header, then each variable's values, big-endian.

Owns the bytes of the header and the place of every variable. `CDF-2` (64-bit
offset) is chosen where it can say everything, since every netCDF library since
2005 reads it; `CDF-5` (64-bit data) otherwise. Pure; safe from any thread.

Source: NetCDF Users' Guide, "File Format Specifications" (CDF-1, 2 and 5).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from math import prod
from typing import Any, Final

import numpy as np

from zarrfs.errors import UnsupportedError
from zarrfs.zarr_format.codecs import MAX_FILE_BYTES
from zarrfs.zarr_format.dtypes import NumpyDType


class NcType(IntEnum):
    """`nc_type` of the specification."""

    BYTE = 1
    CHAR = 2
    SHORT = 3
    INT = 4
    FLOAT = 5
    DOUBLE = 6
    UBYTE = 7
    USHORT = 8
    UINT = 9
    INT64 = 10
    UINT64 = 11


DTYPES: Final[dict[NcType, NumpyDType]] = {
    NcType.BYTE: np.dtype("i1"),
    NcType.CHAR: np.dtype("u1"),
    NcType.SHORT: np.dtype(">i2"),
    NcType.INT: np.dtype(">i4"),
    NcType.FLOAT: np.dtype(">f4"),
    NcType.DOUBLE: np.dtype(">f8"),
    NcType.UBYTE: np.dtype("u1"),
    NcType.USHORT: np.dtype(">u2"),
    NcType.UINT: np.dtype(">u4"),
    NcType.INT64: np.dtype(">i8"),
    NcType.UINT64: np.dtype(">u8"),
}
TYPES: Final = {dtype: nc_type for nc_type, dtype in DTYPES.items() if nc_type != NcType.CHAR}

_NC_DIMENSION: Final = 0x0A
_NC_VARIABLE: Final = 0x0B
_NC_ATTRIBUTE: Final = 0x0C
_CDF2_MOST_BYTES: Final = (1 << 32) - 4
_CDF2_MOST_LENGTH: Final = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class Dimension:
    name: str
    length: int


@dataclass(frozen=True, slots=True)
class Attribute:
    """`values` are in the type's own (big-endian) dtype; the bytes of text for CHAR."""

    name: str
    nc_type: NcType
    values: Any


@dataclass(frozen=True, slots=True)
class Variable:
    """`dimensions` are positions in the file's list of dimensions."""

    name: str
    nc_type: NcType
    dimensions: tuple[int, ...]
    attributes: tuple[Attribute, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """`begins` are where the variables' values begin; what is between them is zero."""

    version: int
    header: bytes
    begins: tuple[int, ...]
    size_bytes: int


def text_attribute(name: str, text: str) -> Attribute:
    return Attribute(name, NcType.CHAR, np.frombuffer(text.encode("utf-8", "replace"), "u1"))


def lay_out(
    dimensions: Sequence[Dimension],
    attributes: Sequence[Attribute],
    variables: Sequence[Variable],
) -> Layout:
    """Return the header, and where everything lies. Raises: UnsupportedError."""
    sizes = [_size_of(variable, dimensions) for variable in variables]
    version = 2 if _fits_cdf2(dimensions, attributes, variables, sizes) else 5
    writer = _Header(version)
    # The header's length does not depend on the offsets in it: measure, then write.
    length = len(writer.header(dimensions, attributes, variables, sizes, [0] * len(sizes)))
    begins, position = [], _padded(length)
    for size in sizes:
        begins.append(position)
        position += _padded(size)
    if position > MAX_FILE_BYTES:
        raise UnsupportedError("group", f"{position} bytes are more than any file holds")
    header = writer.header(dimensions, attributes, variables, sizes, begins)
    return Layout(version, header, tuple(begins), position)


def _size_of(variable: Variable, dimensions: Sequence[Dimension]) -> int:
    count = prod(dimensions[number].length for number in variable.dimensions)
    return count * DTYPES[variable.nc_type].itemsize


def _fits_cdf2(
    dimensions: Sequence[Dimension],
    attributes: Sequence[Attribute],
    variables: Sequence[Variable],
    sizes: Sequence[int],
) -> bool:
    types = [variable.nc_type for variable in variables]
    types += [attribute.nc_type for attribute in attributes]
    types += [attribute.nc_type for variable in variables for attribute in variable.attributes]
    return (
        max(types, default=NcType.BYTE) <= NcType.DOUBLE
        and max(sizes, default=0) <= _CDF2_MOST_BYTES
        and max((d.length for d in dimensions), default=0) <= _CDF2_MOST_LENGTH
    )


def _padded(size: int) -> int:
    return -(-size // 4) * 4


class _Header:
    """Writes one header; NON_NEG is 4 bytes wide in CDF-2, 8 in CDF-5."""

    def __init__(self, version: int) -> None:
        self._version = version
        self._non_neg = ">I" if version == 2 else ">Q"

    def header(
        self,
        dimensions: Sequence[Dimension],
        attributes: Sequence[Attribute],
        variables: Sequence[Variable],
        sizes: Sequence[int],
        begins: Sequence[int],
    ) -> bytes:
        parts = [b"CDF", bytes([self._version]), self._count(0)]  # no records
        parts.append(self._list(_NC_DIMENSION, [self._dimension(d) for d in dimensions]))
        parts.append(self._attributes(attributes))
        entries = map(self._variable, variables, sizes, begins)
        parts.append(self._list(_NC_VARIABLE, list(entries)))
        return b"".join(parts)

    def _count(self, number: int) -> bytes:
        return struct.pack(self._non_neg, number)

    def _list(self, tag: int, entries: Sequence[bytes]) -> bytes:
        if not entries:
            return struct.pack(">I", 0) + self._count(0)
        return struct.pack(">I", tag) + self._count(len(entries)) + b"".join(entries)

    def _name(self, name: str) -> bytes:
        data = name.encode()
        return self._count(len(data)) + data.ljust(_padded(len(data)), b"\0")

    def _dimension(self, dimension: Dimension) -> bytes:
        return self._name(dimension.name) + self._count(dimension.length)

    def _attributes(self, attributes: Sequence[Attribute]) -> bytes:
        return self._list(_NC_ATTRIBUTE, [self._attribute(a) for a in attributes])

    def _attribute(self, attribute: Attribute) -> bytes:
        data: bytes = attribute.values.tobytes()
        head = self._name(attribute.name) + struct.pack(">I", attribute.nc_type)
        return head + self._count(len(attribute.values)) + data.ljust(_padded(len(data)), b"\0")

    def _variable(self, variable: Variable, size: int, begin: int) -> bytes:
        rank = self._count(len(variable.dimensions))
        numbers = b"".join(map(self._count, variable.dimensions))
        # A variable of 4 GiB and more cannot say its size in CDF-2; readers compute it.
        return b"".join(
            (
                self._name(variable.name),
                rank,
                numbers,
                self._attributes(variable.attributes),
                struct.pack(">I", variable.nc_type),
                self._count(_padded(size)),
                struct.pack(">Q", begin),
            )
        )
