"""Small variables in older types, so that a whole file can be in the older layout.

`CDF-5` alone has 64-bit and unsigned integers, and GDAL 3.6, scipy and older
libraries do not read it. Coordinates are 64-bit integers most of the time, and
few and small. When all variables of a file that need CDF-5 are like that, they
are shown as `short` or `int` with the same values, and the file is CDF-2. Only
for static sources: elsewhere the values may grow. Safe from any thread.

Source: NetCDF Users' Guide, "Data Types" (classic and CDF-5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from zarrfs.errors import ZarrfsError
from zarrfs.views.netcdf_format import DTYPES, Attribute, NcType
from zarrfs.views.netcdf_variables import Shown
from zarrfs.views.node_files import FixedFile

MAX_BYTES: Final = 1 << 19
"""What a variable may take, and all of a file's together, to be looked through."""

_OLDER: Final = {
    NcType.UBYTE: NcType.SHORT,
    NcType.USHORT: NcType.INT,
    NcType.UINT: NcType.INT,
    NcType.INT64: NcType.INT,
    NcType.UINT64: NcType.INT,
}


def narrowed(variables: Sequence[Shown]) -> list[Shown]:
    """Return the variables in types that CDF-2 has, or as they are if one has no such form."""
    wide = [v for v in variables if v.nc_type in _OLDER]
    if sum(v.values.size_bytes for v in wide) > MAX_BYTES:
        return list(variables)
    older = [v if v.nc_type not in _OLDER else _narrow(v) for v in variables]
    found = [v for v in older if v is not None]
    return found if len(found) == len(variables) else list(variables)


def _narrow(variable: Shown) -> Shown | None:
    nc_type = _OLDER[variable.nc_type]
    try:
        data = variable.values.read(0, variable.values.size_bytes)
    except ZarrfsError:
        return None  # whoever reads the variable meets the error again
    values = _exactly(np.frombuffer(data, DTYPES[variable.nc_type]), nc_type)
    attributes = [_narrow_attribute(a, variable.nc_type, nc_type) for a in variable.attributes]
    kept = tuple(a for a in attributes if a is not None)
    if values is None or len(kept) != len(attributes):
        return None
    return replace(variable, nc_type=nc_type, attributes=kept, values=FixedFile(values.tobytes()))


def _narrow_attribute(attribute: Attribute, old: NcType, new: NcType) -> Attribute | None:
    """Attributes such as `_FillValue` are of their variable's type."""
    if attribute.nc_type != old:
        return attribute
    values = _exactly(attribute.values, new)
    return None if values is None else replace(attribute, nc_type=new, values=values)


def _exactly(values: Any, nc_type: NcType) -> Any:
    limits = np.iinfo(DTYPES[nc_type])
    if values.size and (int(values.min()) < limits.min or int(values.max()) > limits.max):
        return None
    return values.astype(DTYPES[nc_type])
