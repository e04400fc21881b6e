"""Arithmetic on many short byte strings at once.

A *span* is a start and a length in one array of bytes that ends with
`SLACK` zeros, so that eight bytes can be loaded at any start. Strings are
worked on as little-endian words of eight bytes, the last one padded with
zeros: unambiguous, because names hold no NUL. Pure; any thread.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Bytes: TypeAlias = NDArray[np.uint8]
Ints: TypeAlias = NDArray[np.int64]
Bools: TypeAlias = NDArray[np.bool_]
Hashes: TypeAlias = NDArray[np.uint64]

SLACK: Final = 8
BLOCK_ROWS: Final = 1 << 17
"""Rows worked on at once: temporary arrays stay in the processor's cache."""

_MASK_64: Final = (1 << 64) - 1
_FOLDER_FACTOR: Final = 0x9E3779B97F4A7C15
_WORD_FACTOR: Final = 0xD6E8FEB86659FD93
_TAIL_MASKS: Final = np.array([(1 << (8 * count)) - 1 for count in range(9)], np.uint64)
_MANY_LENGTHS: Final = 48


def loads(data: Bytes | bytes, width: int) -> NDArray[Any]:
    """View bytes as unsigned integers of `width` bytes that start at every position."""
    count = max(len(data) - width + 1, 0)
    return np.ndarray((count,), f"<u{width}", data, 0, (1,))


def gather(data: Bytes, starts: Ints, lengths: Ints) -> tuple[Bytes, Ints]:
    """Copy spans into one new array, a zero before and after each.

    Returns it and the new starts. Shape: a zero, then each span and its zero,
    then SLACK zeros.
    """
    ends = np.cumsum(lengths + 1)
    out = np.zeros(int(ends[-1] if len(ends) else 0) + 1 + SLACK, np.uint8)
    targets = ends - lengths
    counts = np.bincount(lengths)
    distinct = np.flatnonzero(counts)
    if len(distinct) > _MANY_LENGTHS:
        shift = np.repeat(starts - targets, lengths)
        where = np.ones(int(ends[-1]), np.bool_)
        where[ends - 1] = False
        places = np.flatnonzero(where) + 1
        out[places] = data[places + shift]
        return out, targets
    for length in distinct.tolist():
        rows = np.flatnonzero(lengths == length) if len(distinct) > 1 else slice(None)
        if length:
            source = _rows_of(data, length)[starts[rows]]
            _rows_of(out, length)[targets[rows]] = source
    return out, targets


def _rows_of(data: Bytes, length: int) -> Bytes:
    return np.ndarray((len(data) - length + 1, length), np.uint8, data, 0, (1, 1))


def equal(data: Bytes, first: Ints, second: Ints, lengths: Ints) -> Bools:
    """Compare pairs of spans of one length each. Shape: bool, one a pair."""
    words = loads(data, 8)
    same = np.ones(len(lengths), np.bool_)
    rows: Any = np.flatnonzero(lengths > 0)
    offset = 0
    while len(rows):
        left = words[first[rows] + offset]
        left ^= words[second[rows] + offset]
        left &= _TAIL_MASKS[np.minimum(lengths[rows] - offset, 8)]
        agree = left == 0
        same[rows[~agree]] = False
        offset += 8
        rows = rows[agree & (lengths[rows] > offset)]
    return same


def hash_spans(
    data: Bytes, starts: Ints, lengths: Ints, folders: NDArray[np.uint32], seed: int
) -> Hashes:
    """Hash each span together with the number of its folder; `hash_name` agrees."""
    hashes = np.empty(len(starts), np.uint64)
    words = loads(data, 8)
    for begin in range(0, len(starts), BLOCK_ROWS):
        block = slice(begin, begin + BLOCK_ROWS)
        _hash_block(words, starts[block], lengths[block], folders[block], seed, hashes[block])
    return hashes


def _hash_block(
    words: Hashes,
    starts: Ints,
    lengths: Ints,
    folders: NDArray[np.uint32],
    seed: int,
    out: Hashes,
) -> None:
    out[:] = folders.astype(np.uint64)
    out *= np.uint64(_FOLDER_FACTOR)
    out += np.uint64(seed)
    rows: Any = np.flatnonzero(lengths > 0)
    offset = 0
    while len(rows):
        rest = lengths[rows] - offset
        word = words[starts[rows] + offset]
        word &= _TAIL_MASKS[np.minimum(rest, 8)]
        word ^= out[rows]
        word *= np.uint64(_WORD_FACTOR)
        word ^= word >> np.uint64(32)
        out[rows] = word
        offset += 8
        rows = rows[rest > 8]


def hash_name(name: bytes, folder: int, seed: int) -> int:
    """Hash one name as `hash_spans` does."""
    value = folder * _FOLDER_FACTOR + seed
    for offset in range(0, len(name), 8):
        word = int.from_bytes(name[offset : offset + 8], "little")
        value = ((value ^ word) * _WORD_FACTOR) & _MASK_64
        value ^= value >> 32
    return value & _MASK_64
