"""Headers that tell other programs what a file of raw values holds.

    .npy    numpy's own format, the header before the values
    .nhdr   NRRD, detached: any number of dimensions
    .hdr    ENVI: images of up to three dimensions

Pure; safe from any thread.

Source: numpy, `numpy.lib.format` (NPY version 1.0 and 2.0); NRRD0004, "Detached
headers"; ENVI header format.
"""

from __future__ import annotations

import io
from math import prod
from typing import Any, Final

import numpy as np

from zarrfs.errors import UnsupportedError

_NRRD_TYPES: Final = {
    "b1": "uint8",
    "f4": "float",
    "f8": "double",
    **{f"i{n}": f"int{8 * n}" for n in (1, 2, 4, 8)},
    **{f"u{n}": f"uint{8 * n}" for n in (1, 2, 4, 8)},
}
_ENVI_TYPES: Final = {
    "b1": 1,
    "u1": 1,
    "i2": 2,
    "i4": 3,
    "f4": 4,
    "f8": 5,
    "c8": 6,
    "c16": 9,
    "u2": 12,
    "u4": 13,
    "i8": 14,
    "u8": 15,
}


def npy_header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    """Return what stands before the values of a `.npy` file.

    Raises: UnsupportedError for a type that the format cannot say.
    """
    out = io.BytesIO()
    try:
        header = {
            "descr": np.lib.format.dtype_to_descr(dtype),
            "fortran_order": False,
            "shape": shape,
        }
        try:
            np.lib.format.write_array_header_1_0(out, header)
        except ValueError:  # longer than 64 KiB
            np.lib.format.write_array_header_2_0(out, header)
    except (ValueError, UnicodeEncodeError) as error:
        raise UnsupportedError("dtype", f".npy cannot say {dtype}: {error}") from error
    return out.getvalue()


def nrrd_header(shape: tuple[int, ...], dtype: np.dtype[Any], data_file: str) -> bytes | None:
    """Return a detached NRRD header, or None where there is none for such an array."""
    nrrd_type = _NRRD_TYPES.get(dtype.str[1:])
    if nrrd_type is None or not shape or 0 in shape or "\n" in data_file:
        return None
    sizes = " ".join(str(n) for n in reversed(shape))  # the fastest axis first
    lines = [
        "NRRD0004",
        f"type: {nrrd_type}",
        f"dimension: {len(shape)}",
        f"sizes: {sizes}",
        "endian: little",
        "encoding: raw",
        f"data file: {data_file}",
    ]
    return "\n".join((*lines, "")).encode()


def envi_header(
    shape: tuple[int, ...], dtype: np.dtype[Any], description: str, fill: Any
) -> bytes | None:
    """Return an ENVI header: the last dimension across, the one before it down.

    Further dimensions are bands, one after another. None where there is none
    for such an array.
    """
    envi_type = _ENVI_TYPES.get(dtype.str[1:])
    if envi_type is None or not shape or 0 in shape:
        return None
    samples = shape[-1]
    lines = shape[-2] if len(shape) > 1 else 1
    text = description.translate({ord(c): "_" for c in "{}\r\n"})
    header = [
        "ENVI",
        f"description = {{{text}}}",
        f"samples = {samples}",
        f"lines = {lines}",
        f"bands = {prod(shape[:-2])}",
        "header offset = 0",
        "file type = ENVI Standard",
        f"data type = {envi_type}",
        "interleave = bsq",
        "byte order = 0",
    ]
    if fill is not None and fill != 0 and dtype.kind in "iuf":  # 0 is what writers leave unsaid
        header.append(f"data ignore value = {fill!s}")
    return "\n".join((*header, "")).encode()
