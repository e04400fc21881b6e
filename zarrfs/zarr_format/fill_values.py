"""Fill values: from JSON to one item of an array, and back, bit for bit.

Owns the JSON forms of both formats. A fixed-size fill value is a 0-d array of
the data type (so that the payload of a NaN and the sign of a zero survive); a
variable one is `str` or `bytes`; `None` stands for v2's `null`. Pure.

Source: Zarr v2, "Fill value encoding"; Zarr v3 core, "Fill value", and the
data types' own pages in zarr-extensions; zarr-python for its own types.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import numpy as np

from zarrfs.errors import InvalidMetadataError, UnsupportedError
from zarrfs.zarr_format.dtypes import DataType, Json, NumpyDType

FillValue: TypeAlias = Any
"""A 0-d array, a `str`, a `bytes`, or None."""

_NAMED_FLOATS: Final = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}
_NAT: Final = np.iinfo(np.int64).min


def parse_fill_value(value: Json, data_type: DataType) -> FillValue:
    """Read the `fill_value` of an array document of either format.

    The formats' forms do not collide, so one reader serves both.

    Raises: InvalidMetadataError.
    """
    if value is None:
        return None
    try:
        if data_type.variable:
            return _parse_variable(value, data_type)
        return _parse(value, data_type.numpy)
    except (TypeError, ValueError, KeyError, OverflowError, binascii.Error) as error:
        raise InvalidMetadataError(
            "fill_value", [f"{value!r} is none for {data_type.numpy}"]
        ) from error


def zero(data_type: DataType) -> FillValue:
    """Return the data type's zero, which stands for `null` where null cannot be said."""
    if data_type.variable:
        return "" if data_type.variable == "string" else b""
    return np.zeros((), data_type.numpy)


def _parse_variable(value: Json, data_type: DataType) -> str | bytes:
    if value == 0 and not isinstance(value, str):  # zarr-python 2's default for every type
        return "" if data_type.variable == "string" else b""
    if data_type.variable == "string":
        if not isinstance(value, str):
            raise TypeError("not a string")
        return value
    return _parse_bytes(value)


def _parse_bytes(value: Json) -> bytes:
    if isinstance(value, str):
        return base64.b64decode(value, validate=True)
    if isinstance(value, list):
        return bytes(value)
    raise TypeError("neither base64 nor a list of bytes")


def _parse(value: Json, dtype: NumpyDType) -> np.ndarray[Any, Any]:
    if value == 0 and dtype.kind in "SUV" and not isinstance(value, str):
        return np.zeros((), dtype)
    if dtype.names is not None and isinstance(value, Mapping):
        item = np.zeros((), dtype)
        for name in dtype.names:
            item[name] = _parse(value[name], dtype[name])
        return item
    if dtype.kind in "SV":
        return _from_bytes(_parse_bytes(value), dtype)
    if dtype.kind == "U":
        if not isinstance(value, str) or len(value) > dtype.itemsize // 4:
            raise TypeError("not a string that fits")
        return np.array(value, dtype)
    if dtype.kind == "c":
        return _parse_complex(value, dtype)
    if dtype.kind == "f":
        return _parse_float(value, dtype)
    return _parse_integer(value, dtype)


def _from_bytes(data: bytes, dtype: NumpyDType) -> np.ndarray[Any, Any]:
    if dtype.kind == "V" and dtype.names is not None and len(data) != dtype.itemsize:
        raise ValueError("of another length than the structure")
    if len(data) > dtype.itemsize:
        raise ValueError("longer than an item")
    return np.frombuffer(data.ljust(dtype.itemsize, b"\0"), dtype, 1).reshape(()).copy()


def _parse_float(value: Json, dtype: NumpyDType) -> np.ndarray[Any, Any]:
    if isinstance(value, str):
        if value.startswith("0x"):
            bits = int(value, 16)
            big = bits.to_bytes(dtype.itemsize, "big")
            return np.frombuffer(big, dtype.newbyteorder(">")).astype(dtype).reshape(())
        return np.array(_NAMED_FLOATS[value], dtype)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("not a number")
    return np.array(value, dtype)


def _parse_complex(value: Json, dtype: NumpyDType) -> np.ndarray[Any, Any]:
    part = np.dtype(f"{dtype.byteorder}f{dtype.itemsize // 2}")
    parts = value if isinstance(value, list) else [value, 0]
    real, imaginary = (_parse_float(p, part) for p in parts)
    return np.array([real, imaginary], part).view(dtype).reshape(())


def _parse_integer(value: Json, dtype: NumpyDType) -> np.ndarray[Any, Any]:
    if dtype.kind in "mM":
        number = _NAT if value == "NaT" else value
        if isinstance(number, bool) or not isinstance(number, int):
            raise TypeError("not a count of units")
        return np.array(number, dtype.str[0] + "i8").view(dtype)
    if dtype.kind == "b":
        if value not in (0, 1):
            raise ValueError("not a bool")
        return np.array(bool(value), dtype)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise TypeError("not an integer")
    return np.array(int(value), dtype)


def fill_value_to_v2(value: FillValue, data_type: DataType) -> Json:
    """Return the JSON form of `.zarray`.

    Raises: UnsupportedError for a NaN with a payload, which v2 cannot say.
    """
    if value is None:
        return None
    if data_type.variable:
        return value if isinstance(value, str) else base64.b64encode(value).decode()
    return _to_json(value, data_type.numpy, hex_floats=False)


def fill_value_to_v3(value: FillValue, data_type: DataType) -> Json:
    """Return the JSON form of a v3 array's `zarr.json`; null becomes the type's zero."""
    if value is None:
        value = zero(data_type)
    if data_type.variable:
        return value if isinstance(value, str) else base64.b64encode(value).decode()
    return _to_json(value, data_type.numpy, hex_floats=True)


def _to_json(value: np.ndarray[Any, Any], dtype: NumpyDType, *, hex_floats: bool) -> Json:
    if dtype.kind in "SV":
        data = value.tobytes()
        stripped = data.rstrip(b"\0") if dtype.kind == "S" else data
        return base64.b64encode(stripped).decode()
    if dtype.kind == "U":
        return str(value)
    if dtype.kind == "c":
        parts = value.reshape(1).view(f"{dtype.byteorder}f{dtype.itemsize // 2}")
        return [_float_to_json(part, hex_floats=hex_floats) for part in parts]
    if dtype.kind == "f":
        return _float_to_json(value, hex_floats=hex_floats)
    if dtype.kind in "mM":
        return int(value.astype("i8"))
    return bool(value) if dtype.kind == "b" else int(value)


def _float_to_json(value: Any, *, hex_floats: bool) -> Json:
    if np.isposinf(value):
        return "Infinity"
    if np.isneginf(value):
        return "-Infinity"
    if not np.isnan(value):
        return float(value)
    bits = np.asarray(value).astype(value.dtype.newbyteorder(">")).tobytes()
    usual = np.array(np.nan, value.dtype.newbyteorder(">")).tobytes()
    if bits == usual:
        return "NaN"
    if not hex_floats:
        raise UnsupportedError("fill_value", f"v2 cannot say the NaN 0x{bits.hex()}")
    return f"0x{bits.hex()}"
