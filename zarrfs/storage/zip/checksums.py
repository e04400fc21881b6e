"""CRC-32, and the parts of an entry put together.

`isal` computes it three to four times as fast as `zlib` and is used where it
is installed: every whole entry that is read is checked, so this is most of
what a read costs in Python. Any thread.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from zarrfs.storage.tree import Buffer

_POLYNOMIAL: Final = 0xEDB88320
_X0: Final = 1 << 31
"""The polynomial 1, bits reflected."""


def _multiply(left: int, right: int) -> int:
    """Multiply polynomials over GF(2), modulo CRC-32's."""
    product = 0
    while right:
        if right & _X0:
            product ^= left
        right = (right << 1) & 0xFFFFFFFF
        left = (left >> 1) ^ (_POLYNOMIAL if left & 1 else 0)
    return product


@lru_cache(64)
def _shift(size: int) -> int:
    """Return x^(8 size): what appending `size` bytes multiplies a CRC with."""
    result, power = _X0, _X0 >> 8
    while size:
        if size & 1:
            result = _multiply(result, power)
        power = _multiply(power, power)
        size >>= 1
    return result


def _combine(first: int, second: int, second_size: int) -> int:
    return _multiply(first, _shift(second_size)) ^ second


crc32: Callable[[Buffer, int], int] = zlib.crc32
"""`crc32(data, before)`: the CRC-32 of what had `before`, followed by `data`."""

crc32_combine: Callable[[int, int, int], int] = _combine
"""`crc32_combine(a, b, b_size)`: the CRC-32 of two neighbours, from theirs."""

try:
    from isal import isal_zlib
except ImportError:
    pass
else:
    crc32 = isal_zlib.crc32
    if hasattr(isal_zlib, "crc32_combine"):  # not in every version
        crc32_combine = isal_zlib.crc32_combine
