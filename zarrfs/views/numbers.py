"""Every data type as numbers that C programs have: what `decoded` and `netcdf` show.

Values stay exact. Bytes stay the same bytes, but for float16, which becomes
float32:

    bool                     uint8, 0 or 1
    float16                  float32
    complex64, complex128    two floats, along one more dimension
    fixed bytes (S, V)       uint8, along one more dimension
    datetime64, timedelta64  int64, with CF `units` where CF has the unit

Text (`U`, strings of any length) and structures have no such form. Pure; safe
from any thread.

Source: CF conventions, section 4.4 (time); udunits for its unit names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from zarrfs.errors import UnsupportedError
from zarrfs.zarr_format.dtypes import NumpyDType

_UNITS: Final = {
    "D": "days",
    "h": "hours",
    "m": "minutes",
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
}


@dataclass(frozen=True, slots=True)
class Numbers:
    """A data type as numbers. `trailing` is one more dimension, or none when 0."""

    dtype: NumpyDType
    trailing: int = 0
    trailing_name: str = ""
    converts: bool = False
    """Whether the values' bytes change."""
    attributes: dict[str, str] = field(default_factory=dict)

    def fill_value(self, fill: Any) -> Any:
        """Return a fill value as one of the numbers, or None when they differ or it is null."""
        if fill is None:
            return None
        if self.converts:
            return fill.astype(self.dtype)
        parts = np.ascontiguousarray(fill).reshape(1).view(self.dtype)
        same = all(part.tobytes() == parts[0].tobytes() for part in parts)
        return parts[0] if len(parts) and same else None


def as_numbers(dtype: NumpyDType) -> Numbers:
    """Return what a little-endian data type is shown as.

    Raises: UnsupportedError.
    """
    if dtype.names is not None or dtype.subdtype is not None:
        raise UnsupportedError("dtype", "a structure is no number")
    if dtype.kind == "U":
        raise UnsupportedError("dtype", "text is no number")
    if dtype.kind in "SV":
        if not dtype.itemsize:
            raise UnsupportedError("dtype", "items of no bytes")
        return Numbers(np.dtype("u1"), dtype.itemsize, f"bytes_{dtype.itemsize}")
    if dtype.kind == "c":
        return Numbers(np.dtype(f"<f{dtype.itemsize // 2}"), 2, "real_imaginary")
    if dtype.kind == "b":
        return Numbers(np.dtype("u1"))
    if dtype.kind in "mM":
        return Numbers(np.dtype("<i8"), attributes=_time_attributes(dtype))
    if dtype.kind == "f" and dtype.itemsize == 2:
        return Numbers(np.dtype("<f4"), converts=True)
    return Numbers(dtype)


def _time_attributes(dtype: NumpyDType) -> dict[str, str]:
    unit, factor = np.datetime_data(dtype)
    if factor != 1 or unit not in _UNITS:
        return {"zarr_dtype": dtype.str}  # CF has no such unit: say what the numbers count
    if dtype.kind == "m":
        return {"units": _UNITS[unit]}
    return {
        "units": f"{_UNITS[unit]} since 1970-01-01 00:00:00",
        "calendar": "proleptic_gregorian",
    }
