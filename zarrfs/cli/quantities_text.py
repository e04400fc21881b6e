"""Sizes, shapes and durations as people read them."""

from __future__ import annotations

from collections.abc import Sequence

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def size_text(size_bytes: float) -> str:
    """Write a size with three digits or so.

    >>> size_text(512), size_text(1536), size_text(10 * 1024**3)
    ('512 B', '1.5 KiB', '10 GiB')
    """
    unit = _UNITS[-1]
    for unit in _UNITS:
        if size_bytes < 1024 or unit == _UNITS[-1]:
            break
        size_bytes /= 1024
    digits = 0 if unit == "B" or size_bytes >= 9.95 else 1
    return f"{size_bytes:.{digits}f} {unit}"


def shape_text(shape: Sequence[int]) -> str:
    """Write a shape.

    >>> shape_text((365, 721, 1440)), shape_text(())
    ('365 x 721 x 1440', 'scalar')
    """
    return " x ".join(map(str, shape)) or "scalar"


def count_text(number: int, noun: str) -> str:
    """Write a count with its noun.

    >>> count_text(1, "chunk"), count_text(2, "chunk")
    ('1 chunk', '2 chunks')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
