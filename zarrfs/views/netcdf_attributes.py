"""Zarr attributes, which are JSON, as netCDF attributes, which are typed.

    text                     char
    integers                 int, or int64 where int is too small
    other numbers            double
    lists of numbers         the same, with several values
    true, false              byte, 1 or 0
    everything else          char: its JSON

Owns names as well: netCDF is stricter about them. Pure; safe from any thread.

Source: NetCDF Users' Guide, "Permitted Characters in NetCDF Names"; CF
conventions, section 2.5.1 (missing data are of the variable's type); xarray,
`FillValueCoder` (how a float `_FillValue` is written in v3).
"""

from __future__ import annotations

import base64
import binascii
import json
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from zarrfs.views.netcdf_format import DTYPES, TYPES, Attribute, NcType, text_attribute
from zarrfs.zarr_format.dtypes import Json, NumpyDType
from zarrfs.zarr_format.translate import ARRAY_DIMENSIONS

FILL_VALUE: Final = "_FillValue"
_TYPED_AS_VARIABLE: Final = frozenset(
    ("missing_value", "valid_min", "valid_max", "valid_range", "flag_values", "flag_masks")
)
_NAMED_FLOATS: Final = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}


def netcdf_name(name: str) -> str:
    """Return a name as netCDF permits it."""
    kept = "".join("_" if c == "/" or ord(c) < 32 or ord(c) == 127 else c for c in name)
    kept = unicodedata.normalize("NFC", kept.encode("utf-8", "replace").decode()).rstrip()
    starts = kept[:1].isascii() and (kept[:1].isalnum() or kept[:1] == "_")
    return kept if starts or (kept and not kept[0].isascii()) else f"_{kept}"


def attributes_of(
    attributes: Mapping[str, Json], dtype: NumpyDType | None = None
) -> Iterator[Attribute]:
    """Yield a group's attributes, or those of a variable of such values.

    `_FillValue` is left to `fill_value_of`.
    """
    seen: set[str] = set()
    for name, value in attributes.items():
        shown = netcdf_name(name)
        if name in (ARRAY_DIMENSIONS, FILL_VALUE) or shown in seen:
            continue
        seen.add(shown)
        typed = _as_variable(shown, value, dtype) if name in _TYPED_AS_VARIABLE else None
        yield typed or attribute_of(shown, value)


def attribute_of(name: str, value: Json) -> Attribute:
    if isinstance(value, str):
        return text_attribute(name, value)
    if isinstance(value, bool):
        return Attribute(name, NcType.BYTE, np.array([value], "i1"))
    values = value if isinstance(value, list) else [value]
    if values and all(_is_number(item) for item in values):
        numbers = _numbers(name, values)
        if numbers is not None:
            return numbers
    return text_attribute(name, json.dumps(value, ensure_ascii=False, default=dict))


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _numbers(name: str, values: list[Any]) -> Attribute | None:
    if not all(isinstance(item, int) for item in values):
        return Attribute(name, NcType.DOUBLE, np.array(values, ">f8"))
    for nc_type in (NcType.INT, NcType.INT64, NcType.UINT64):
        limits = np.iinfo(DTYPES[nc_type])
        if limits.min <= min(values) and max(values) <= limits.max:
            return Attribute(name, nc_type, np.array(values, DTYPES[nc_type]))
    return None


def _as_variable(name: str, value: Json, dtype: NumpyDType | None) -> Attribute | None:
    """Return an attribute in the variable's own type, if its values are exact in it."""
    values = value if isinstance(value, list) else [value]
    if dtype is None or dtype not in TYPES or not values or not all(map(_is_number, values)):
        return None
    try:
        typed = np.array(values, dtype)
    except (OverflowError, ValueError):
        return None
    wanted = np.array(values)
    same = (typed == wanted) | ((typed != typed) & (wanted != wanted))
    return Attribute(name, TYPES[dtype], typed) if bool(same.all()) else None


def fill_value_of(value: Json, dtype: NumpyDType) -> Any:
    """Read an attribute `_FillValue` as one value of a variable, or None."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, str) and dtype.kind == "f":
        value = _NAMED_FLOATS[value] if value in _NAMED_FLOATS else _packed_float(value)
    if not _is_number(value):
        return None
    try:
        typed = np.array(value, dtype)
    except (OverflowError, ValueError):
        return None
    exact = dtype.kind == "f" or int(typed) == value
    return typed if exact else None


def _packed_float(text: str) -> float | None:
    """xarray writes a float in v3 as the base64 of its eight little-endian bytes."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return float(np.frombuffer(data, "<f8")[0]) if len(data) == 8 else None
