"""A naive reader of classic netCDF files, by the specification alone.

It shares no line with `zarrfs.views.netcdf_format` and reads the whole file.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np

TYPES = {
    1: ">i1", 2: "S1", 3: ">i2", 4: ">i4", 5: ">f4", 6: ">f8",
    7: ">u1", 8: ">u2", 9: ">u4", 10: ">i8", 11: ">u8",
}  # fmt: skip


@dataclass
class Variable:
    dimensions: list[str]
    attributes: dict[str, Any]
    values: Any


@dataclass
class File:
    version: int
    dimensions: dict[str, int] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    variables: dict[str, Variable] = field(default_factory=dict)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 4
        assert data[:3] == b"CDF"
        self.version = data[3]
        assert self.version in (2, 5)

    def take(self, size: int) -> bytes:
        part = self.data[self.at : self.at + size]
        assert len(part) == size
        self.at += size
        return part

    def int32(self) -> int:
        return int(struct.unpack(">I", self.take(4))[0])

    def int64(self) -> int:
        return int(struct.unpack(">Q", self.take(8))[0])

    def count(self) -> int:
        return self.int64() if self.version == 5 else self.int32()

    def padded(self, size: int) -> bytes:
        part = self.take(size)
        assert self.take(-size % 4) == bytes(-size % 4)
        return part

    def name(self) -> str:
        return self.padded(self.count()).decode()

    def items(self, tag: int) -> range:
        found, count = self.int32(), self.count()
        assert (found, count) == (0, 0) or found == tag
        return range(count)

    def attributes(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for _ in self.items(12):
            name, kind, count = self.name(), self.int32(), self.count()
            dtype = np.dtype(TYPES[kind])
            raw = self.padded(count * dtype.itemsize)
            found[name] = raw.decode() if kind == 2 else np.frombuffer(raw, dtype)
        return found


def read_netcdf(data: bytes) -> File:
    reader = _Reader(data)
    assert reader.count() == 0, "no records"
    file = File(reader.version)
    for _ in reader.items(10):
        name = reader.name()
        file.dimensions[name] = reader.count()
    names = list(file.dimensions)
    file.attributes = reader.attributes()
    for _ in reader.items(11):
        name = reader.name()
        dimensions = [names[reader.count()] for _ in range(reader.count())]
        attributes, kind, size, begin = (
            reader.attributes(), reader.int32(), reader.count(), reader.int64()
        )  # fmt: skip
        shape = tuple(file.dimensions[dimension] for dimension in dimensions)
        dtype = np.dtype(TYPES[kind])
        nbytes = int(np.prod(shape, dtype=int)) * dtype.itemsize
        assert size == nbytes + -nbytes % 4
        assert begin % 4 == 0
        values = np.frombuffer(data[begin : begin + nbytes], dtype).reshape(shape)
        file.variables[name] = Variable(dimensions, attributes, values)
    return file
