"""The data types of both formats, as numpy sees them.

Owns reading and writing the `dtype` of a v2 array and the `data_type` of a v3
array. Fill values are `fill_values`' business. Pure; safe from any thread.

Source: Zarr v2, "Data type encoding"; Zarr v3 core, "Data types";
zarr-extensions `data-types/` (`string`, `bytes`, `struct`, `numpy.datetime64`,
`numpy.timedelta64`); zarr-python 3 for the types that it alone defines
(`fixed_length_utf32`, `null_terminated_bytes`, `raw_bytes`,
`variable_length_bytes`, `structured`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np

from zarrfs.errors import InvalidMetadataError, UnsupportedError

Json: TypeAlias = Any
"""A parsed JSON value: its shape is checked where it is used."""

NumpyDType: TypeAlias = np.dtype[Any]
Variable: TypeAlias = Literal["", "string", "bytes"]

MAX_ITEM_BYTES: Final = 1 << 24
"""Larger items are taken for a hostile document."""

_V3_NUMBERS: Final = {
    "bool": "|b1",
    **{f"int{8 * n}": f"<i{n}" for n in (1, 2, 4, 8)},
    **{f"uint{8 * n}": f"<u{n}" for n in (1, 2, 4, 8)},
    **{f"float{8 * n}": f"<f{n}" for n in (2, 4, 8)},
    "complex64": "<c8",
    "complex128": "<c16",
}
_V3_NAMES: Final = {np.dtype(code): name for name, code in _V3_NUMBERS.items()}
_V2_SIMPLE: Final = re.compile(r"[<>|](?:b1|[iu][1248]|f[248]|c(?:8|16)|[SUV]\d+)")
_V2_TIME: Final = re.compile(r"[<>|]([mM])8(?:\[(\d*)(Y|M|W|D|h|m|s|ms|us|μs|ns|ps|fs|as)\])?")
_RAW_BITS: Final = re.compile(r"r([1-9]\d*)")


@dataclass(frozen=True, slots=True)
class DataType:
    """The type of an array's items.

    `numpy` carries the byte order that the v2 document states; types that were
    read from v3 are little-endian, since there a codec decides the order. Items
    of `variable` length are Python objects: `str` or `bytes`.
    """

    numpy: NumpyDType
    variable: Variable = ""

    @property
    def item_bytes(self) -> int:
        """Size of an item; 0 when it varies."""
        return 0 if self.variable else self.numpy.itemsize

    @property
    def has_byte_order(self) -> bool:
        return not self.variable and _has_byte_order(self.numpy)

    def with_byte_order(self, order: Literal["<", ">"]) -> DataType:
        """Return the same type with all its parts in one byte order."""
        if self.variable:
            return self
        return DataType(self.numpy.newbyteorder(order))


def _has_byte_order(dtype: NumpyDType) -> bool:
    if dtype.names is not None:
        return any(_has_byte_order(dtype[name]) for name in dtype.names)
    base = dtype.base
    return base.itemsize > 1 and base.kind not in "SV"


def parse_v2(dtype: Json, filters: Sequence[Json] = ()) -> DataType:
    """Read the `dtype` of a `.zarray`.

    The array's filters tell what a `|O` holds.

    Raises: InvalidMetadataError, UnsupportedError.
    """
    if dtype == "|O":
        return _parse_object(filters)
    return DataType(_parse_v2_numpy(dtype))


def _parse_object(filters: Sequence[Json]) -> DataType:
    ids = [f.get("id") for f in filters if isinstance(f, Mapping)]
    for codec_id, variable in (("vlen-utf8", "string"), ("vlen-bytes", "bytes")):
        if ids and ids[0] == codec_id:
            return DataType(np.dtype(object), variable)  # type: ignore[arg-type]
    raise UnsupportedError("dtype |O", f"objects encoded by {ids or 'nothing'} cannot be read")


def _parse_v2_numpy(dtype: Json) -> NumpyDType:
    if isinstance(dtype, list) and dtype:
        fields = [_parse_v2_field(field) for field in dtype]
        return _structure(fields)
    if not isinstance(dtype, str):
        raise InvalidMetadataError("dtype", [f"not a data type: {dtype!r}"])
    if _V2_SIMPLE.fullmatch(dtype) or _V2_TIME.fullmatch(dtype):
        return _checked(dtype)
    if dtype.startswith("|O"):
        raise UnsupportedError(f"dtype {dtype}", "objects inside a structure cannot be read")
    raise InvalidMetadataError("dtype", [f"not a data type: {dtype!r}"])


def _checked(spelling: Any) -> NumpyDType:
    try:
        dtype: NumpyDType = np.dtype(spelling)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidMetadataError("dtype", [f"{spelling!r}: {error}"]) from error
    if dtype.itemsize > MAX_ITEM_BYTES:
        raise UnsupportedError(f"dtype {spelling!r}", "items of more than 16 MiB")
    return dtype


def _parse_v2_field(field: Json) -> tuple[Any, ...]:
    if not isinstance(field, list) or len(field) not in (2, 3) or not isinstance(field[0], str):
        raise InvalidMetadataError("dtype", [f"not a field of a structure: {field!r}"])
    dtype = _parse_v2_numpy(field[1])
    if len(field) == 2:
        return field[0], dtype
    shape = field[2]
    if isinstance(shape, int):
        shape = [shape]
    if not isinstance(shape, list) or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise InvalidMetadataError("dtype", [f"not a shape: {shape!r}"])
    return field[0], dtype, tuple(shape)


def _structure(fields: Sequence[tuple[Any, ...]]) -> NumpyDType:
    return _checked(list(fields))


def parse_v3(data_type: Json) -> DataType:
    """Read the `data_type` of an array's `zarr.json`.

    Raises: InvalidMetadataError, UnsupportedError.
    """
    name, configuration = named(data_type, "data_type")
    if name == "string":
        return DataType(np.dtype(object), "string")
    if name in ("bytes", "variable_length_bytes"):
        return DataType(np.dtype(object), "bytes")
    return DataType(_parse_v3_numpy(name, configuration))


def named(value: Json, subject: str) -> tuple[str, Mapping[str, Json]]:
    """Split an extension point, `"name"` or `{"name", "configuration"}`.

    Raises: InvalidMetadataError.
    """
    if isinstance(value, str):
        return value, {}
    if isinstance(value, Mapping) and isinstance(value.get("name"), str):
        configuration = value.get("configuration", {})
        if isinstance(configuration, Mapping):
            return value["name"], configuration
    raise InvalidMetadataError(subject, [f"expected a name and a configuration: {value!r}"])


def _parse_v3_numpy(name: str, configuration: Mapping[str, Json]) -> NumpyDType:
    if name in _V3_NUMBERS:
        return np.dtype(_V3_NUMBERS[name])
    if name in ("struct", "structured"):
        return _structure([_parse_v3_field(field) for field in configuration.get("fields") or [0]])
    if name in ("numpy.datetime64", "numpy.timedelta64"):
        return _parse_v3_time("M" if name == "numpy.datetime64" else "m", configuration)
    if bits := _RAW_BITS.fullmatch(name):
        return _checked(f"|V{_whole_bytes(int(bits[1]))}")
    length = configuration.get("length_bytes")
    if name not in ("fixed_length_utf32", "null_terminated_bytes", "raw_bytes"):
        raise UnsupportedError(f"data type {name}", "not known here")
    if not isinstance(length, int) or length < 0 or (name == "fixed_length_utf32" and length % 4):
        raise InvalidMetadataError("data_type", [f"{name}: length_bytes is {length!r}"])
    if name == "fixed_length_utf32":
        return _checked(f"<U{length // 4}")
    return _checked(f"|{'S' if name == 'null_terminated_bytes' else 'V'}{length}")


def _whole_bytes(bits: int) -> int:
    if bits % 8:
        raise InvalidMetadataError("data_type", [f"r{bits}: not a whole number of bytes"])
    return bits // 8


def _parse_v3_field(field: Json) -> tuple[Any, ...]:
    # `struct` names the two parts, the older `structured` of zarr-python pairs them.
    if isinstance(field, Mapping):
        name, data_type = field.get("name"), field.get("data_type")
    elif isinstance(field, list) and len(field) == 2:
        name, data_type = field
    else:
        name = data_type = None
    if not isinstance(name, str):
        raise InvalidMetadataError("data_type", [f"not a field of a structure: {field!r}"])
    return name, _parse_v3_numpy(*named(data_type, "data_type"))


def _parse_v3_time(letter: str, configuration: Mapping[str, Json]) -> NumpyDType:
    unit, factor = configuration.get("unit"), configuration.get("scale_factor", 1)
    if unit == "generic":
        return np.dtype(f"<{letter}8")
    code = f"<{letter}8[{factor}{unit}]"
    if not isinstance(factor, int) or not _V2_TIME.fullmatch(code):
        raise InvalidMetadataError("data_type", [f"not a unit of time: {factor!r} {unit!r}"])
    return _checked(code)


def to_v2(data_type: DataType) -> Json:
    """Return the `dtype` of a `.zarray`, in the byte order that the type carries."""
    if data_type.variable:
        return "|O"
    return _to_v2(data_type.numpy)


def _to_v2(dtype: NumpyDType) -> Json:
    if dtype.names is None:
        return dtype.str
    fields = []
    for name in dtype.names:
        base, shape = dtype[name].base, dtype[name].shape
        fields.append([name, _to_v2(base), list(shape)] if shape else [name, _to_v2(base)])
    return fields


def to_v3(data_type: DataType) -> Json:
    """Return the `data_type` of a v3 array.

    Raises: UnsupportedError when v3 has no such type.
    """
    if data_type.variable:
        return "string" if data_type.variable == "string" else "variable_length_bytes"
    return _to_v3(data_type.numpy)


def _to_v3(dtype: NumpyDType) -> Json:
    little = dtype.newbyteorder("<")
    if little in _V3_NAMES:
        return _V3_NAMES[little]
    if dtype.names is not None:
        return _to_v3_struct(dtype)
    if dtype.kind in "SUV" and dtype.subdtype is None:
        names = {"S": "null_terminated_bytes", "U": "fixed_length_utf32", "V": "raw_bytes"}
        configuration = {"length_bytes": dtype.itemsize}
        return {"name": names[dtype.kind], "configuration": configuration}
    if dtype.kind in "mM":
        unit, factor = np.datetime_data(dtype)
        name = "numpy.datetime64" if dtype.kind == "M" else "numpy.timedelta64"
        return {"name": name, "configuration": {"unit": unit, "scale_factor": factor}}
    raise UnsupportedError(f"dtype {dtype.str}", "no v3 data type has this form")


def _to_v3_struct(dtype: NumpyDType) -> Json:
    """`structured` as zarr-python 3.0 and 3.1 read it, with fields in pairs.

    Later readers take it too; the `struct` of zarr-extensions is not yet read
    by any released zarr-python.
    """
    fields = [[name, _to_v3(dtype[name])] for name in dtype.names or ()]
    return {"name": "structured", "configuration": {"fields": fields}}
