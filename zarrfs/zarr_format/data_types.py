"""How data types are spelled in documents, and how many bytes one element takes.

Pure text and arithmetic; what NumPy makes of them is `dtypes`' business.

Source: Zarr v2 specification, "Data type encoding" (NumPy typestrs); Zarr v3
core, "Data types"; zarr-extensions, `data-types`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from zarrfs.zarr_format.documents import Json, ZarrFormat

_V3_SIZES: Final = {
    "bool": 1,
    "int2": 1,
    "int4": 1,
    "int8": 1,
    "int16": 2,
    "int32": 4,
    "int64": 8,
    "uint2": 1,
    "uint4": 1,
    "uint8": 1,
    "uint16": 2,
    "uint32": 4,
    "uint64": 8,
    "float16": 2,
    "bfloat16": 2,
    "float32": 4,
    "float64": 8,
    "complex64": 8,
    "complex128": 16,
    "complex_float16": 4,
    "complex_bfloat16": 4,
    "complex_float32": 8,
    "complex_float64": 16,
    "numpy.datetime64": 8,
    "numpy.timedelta64": 8,
}
_TYPESTR: Final = re.compile(r"[<>|=]?([biufcmMSUV])([0-9]{0,9})(?:\[.*\])?")
_RAW_BITS: Final = re.compile(r"r([0-9]{1,9})")


def data_type_text(dtype: Json) -> str:
    """Return a dtype as one line: its name, with its configuration where there is one.

    >>> data_type_text({"name": "numpy.datetime64", "configuration": {"unit": "s"}})
    'numpy.datetime64[unit=s]'
    """
    if isinstance(dtype, str):
        return dtype
    if isinstance(dtype, Mapping) and isinstance(dtype.get("name"), str):
        configuration = dtype.get("configuration")
        members = configuration.items() if isinstance(configuration, Mapping) else ()
        text = ",".join(f"{key}={_compact(value)}" for key, value in members)
        return f"{dtype['name']}[{text}]" if text else str(dtype["name"])
    return _compact(dtype)


def _compact(value: Json) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"), default=dict)


def item_size(dtype: Json, zarr_format: ZarrFormat) -> int | None:
    """Return the bytes of one decoded element; None when it is unknown or varies."""
    return _item_size_v2(dtype) if zarr_format == 2 else _item_size_v3(dtype)


def _item_size_v2(dtype: Json) -> int | None:
    if isinstance(dtype, str):
        match = _TYPESTR.fullmatch(dtype)
        if match is None:
            return None
        code, digits = match.groups()
        if not digits:
            return 8 if code in "mM" else None
        return int(digits) * (4 if code == "U" else 1)
    if isinstance(dtype, Sequence):
        return _total(map(_field_size_v2, dtype))
    return None


def _field_size_v2(field: Json) -> int | None:
    """Size of `[name, dtype]` or `[name, dtype, shape]`."""
    if not isinstance(field, Sequence) or not 2 <= len(field) <= 3:
        return None
    size = _item_size_v2(field[1])
    shape = field[2] if len(field) == 3 else []
    if isinstance(shape, int):
        shape = [shape]
    if size is None or not isinstance(shape, Sequence):
        return None
    lengths = [length for length in shape if isinstance(length, int)]
    return size * math.prod(lengths) if len(lengths) == len(shape) else None


def _item_size_v3(dtype: Json) -> int | None:
    if isinstance(dtype, str):
        if dtype.startswith("float8_"):
            return 1
        bits = _RAW_BITS.fullmatch(dtype)
        return int(bits[1]) // 8 if bits else _V3_SIZES.get(dtype)
    if not isinstance(dtype, Mapping):
        return None
    configuration = dtype.get("configuration")
    if isinstance(configuration, Mapping):
        length = configuration.get("length_bytes")
        if isinstance(length, int):
            return length
        fields = configuration.get("fields")
        if isinstance(fields, Sequence) and not isinstance(fields, str):
            return _total(map(_field_size_v3, fields))
    return _item_size_v3(dtype.get("name"))


def _field_size_v3(field: Json) -> int | None:
    """Size of `{"name", "data_type"}`, or `[name, data_type]` as zarr-python wrote it."""
    if isinstance(field, Mapping):
        return _item_size_v3(field.get("data_type"))
    if isinstance(field, Sequence) and len(field) == 2:
        return _item_size_v3(field[1])
    return None


def _total(sizes: Iterable[int | None]) -> int | None:
    total = 0
    for size in sizes:
        if size is None:
            return None
        total += size
    return total
