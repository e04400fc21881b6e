"""Sizes, durations and permission modes as people write them.

Pure; any thread. Sizes take decimal and binary suffixes as IEC 80000-13 names
them (`64MiB`, `1.5 GB`, `4096`); durations take `ms`, `s`, `m`, `h`, `d`.
"""

from __future__ import annotations

import re
from typing import Final

_NUMBER_AND_UNIT: Final = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*")
_SIZE_UNITS: Final = {
    "": 1,
    "b": 1,
    **{
        prefix + suffix: base**power
        for power, prefix in enumerate("kmgt", start=1)
        for suffix, base in (("", 1024), ("ib", 1024), ("b", 1000))
    },
}
_LARGEST: Final = 1 << 62
_LONGEST_S: Final = 1e9
_DURATION_UNITS_S: Final = {"ms": 0.001, "": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def parse_size(text: str | int) -> int:
    """Return a size in bytes. Raises: ValueError that says what is accepted."""
    match = _NUMBER_AND_UNIT.fullmatch(str(text))
    unit = _SIZE_UNITS.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise ValueError(f"{_shortened(text)} is not a size: write bytes, or 512KiB, 64MiB, 2GB")
    # A float is exact enough unless it is a whole number of bytes.
    size = (
        int(match[1]) * unit
        if len(match[1]) < 30 and "." not in match[1]
        else float(match[1]) * unit
    )
    if size > _LARGEST:
        raise ValueError(f"{_shortened(text)} is more than any machine holds")
    return int(size)


def parse_duration_s(text: str | float) -> float:
    """Return a duration in seconds. Raises: ValueError that says what is accepted."""
    match = _NUMBER_AND_UNIT.fullmatch(str(text))
    unit = _DURATION_UNITS_S.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise ValueError(
            f"{_shortened(text)} is not a duration: write seconds, or 500ms, 30s, 5m, 2h"
        )
    seconds = float(match[1]) * unit
    if seconds > _LONGEST_S:
        raise ValueError(f"{_shortened(text)} is longer than 30 years")
    return seconds


def _shortened(text: str | float) -> str:
    written = repr(text)
    return written if len(written) <= 40 else f"{written[:20]}...{written[-8:]}"


def parse_mode(text: str | int) -> int:
    """Return permission bits from their octal text. Raises: ValueError."""
    digits = str(text).removeprefix("0o")
    if not re.fullmatch(r"[0-7]{1,5}", digits) or int(digits, 8) > 0o7777:
        raise ValueError(
            f"{_shortened(text)} is not a permission mode: write octal digits, such as 0644"
        )
    return int(digits, 8)
