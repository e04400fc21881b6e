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
_DURATION_UNITS_S: Final = {"ms": 0.001, "": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def parse_size(text: str | int) -> int:
    """Return a size in bytes. Raises: ValueError that says what is accepted."""
    match = _NUMBER_AND_UNIT.fullmatch(str(text))
    unit = _SIZE_UNITS.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise ValueError(f"{text!r} is not a size: write bytes, or 512KiB, 64MiB, 2GB")
    return int(float(match[1]) * unit)


def parse_duration_s(text: str | float) -> float:
    """Return a duration in seconds. Raises: ValueError that says what is accepted."""
    match = _NUMBER_AND_UNIT.fullmatch(str(text))
    unit = _DURATION_UNITS_S.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise ValueError(f"{text!r} is not a duration: write seconds, or 500ms, 30s, 5m, 2h")
    return float(match[1]) * unit


def parse_mode(text: str | int) -> int:
    """Return permission bits from their octal text. Raises: ValueError."""
    digits = str(text).removeprefix("0o")
    if not re.fullmatch(r"[0-7]{1,5}", digits) or int(digits, 8) > 0o7777:
        raise ValueError(f"{text!r} is not a permission mode: write octal digits, such as 0644")
    return int(digits, 8)
