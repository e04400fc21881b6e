"""Arithmetic on many short byte strings at once.

A *span* is a start and a length in one array of bytes that ends with
`SLACK` zeros, so that eight bytes can be loaded at any start. Strings are
worked on as words of several bytes at once. Pure; any thread.
"""

from __future__ import annotations

import os
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Bytes: TypeAlias = NDArray[np.uint8]
Ints: TypeAlias = NDArray[np.int64]
Bools: TypeAlias = NDArray[np.bool_]
Offsets: TypeAlias = NDArray[np.uint32]
Hashes: TypeAlias = NDArray[np.uint32]

SLACK: Final = 8
BLOCK_ROWS: Final = 1 << 17
"""Rows worked on at once: temporary arrays stay in the processor's cache."""

_FOLDER_FACTOR: Final = 0x9E3779B1
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
        rest = lengths[rows] - offset
        difference = words[first[rows] + offset] ^ words[second[rows] + offset]
        difference &= _TAIL_MASKS[np.minimum(rest, 8)]
        same[rows[difference != 0]] = False
        offset += 8
        rows = rows[(difference == 0) & (rest > 8)]
    return same


def equal_to_previous(data: Bytes, starts: Ints, lengths: Ints) -> Bools:
    """Compare each span with the one before it. Shape: bool; the first is False."""
    words = loads(data, 8)
    same = np.zeros(len(starts), np.bool_)
    same[1:] = lengths[1:] == lengths[:-1]
    longest = int(lengths.max(initial=0))
    rows: Any = slice(None)
    for offset in range(0, longest, 8):
        if offset:
            rows = np.flatnonzero(lengths > offset)
        word = words[starts[rows] + offset]
        word &= _TAIL_MASKS[np.minimum(np.maximum(lengths[rows] - offset, 0), 8)]
        if not offset:
            same[1:] &= word[1:] == word[:-1]
            continue
        # Two rows of one length are both here, or neither is.
        neighbours = np.diff(rows) == 1
        agree = word[1:] == word[:-1]
        same[rows[1:][neighbours & ~agree]] = False
    return same


def hash_spans(data: Bytes, starts: Offsets, ends: Offsets, folders: Offsets, prime: int) -> Hashes:
    """Hash each span together with the number of its folder; `hash_name` agrees.

    A name is taken as one large integer, modulo a secret prime above 2^31: a
    fixed pair of names has a chance of one in millions to agree.
    """
    hashes = np.empty(len(starts), np.uint32)
    words = loads(data, 4)
    for begin in range(0, len(starts), BLOCK_ROWS):
        block = slice(begin, begin + BLOCK_ROWS)
        from_start = starts[block].astype(np.int64)
        remainders = _remainders(words, from_start, ends[block] - from_start, np.uint64(prime))
        mixed = folders[block] * np.uint32(_FOLDER_FACTOR)
        hashes[block] = remainders.astype(np.uint32) ^ mixed
    return hashes


def _remainders(
    words: NDArray[np.uint32], starts: Ints, lengths: Ints, prime: np.uint64
) -> NDArray[np.uint64]:
    total = np.zeros(len(starts), np.uint64)
    rows: Any = slice(None)
    offset = 0
    while True:
        rest = lengths[rows] - offset
        bits = np.clip(rest * 8, 0, 32).astype(np.uint64)
        word = words[starts[rows] + offset].byteswap() >> (32 - bits).astype(np.uint32)
        total[rows] = ((total[rows] << bits) | word) % prime
        offset += 4
        rows = np.flatnonzero(lengths > offset)
        if not len(rows):
            return total


def hash_name(name: bytes, folder: int, prime: int) -> int:
    """Hash one name as `hash_spans` does."""
    mixed = folder * _FOLDER_FACTOR & 0xFFFFFFFF
    return int.from_bytes(name, "big") % prime ^ mixed


def random_prime() -> int:
    """Return a secret prime of 32 bits for `hash_spans`."""
    while True:
        candidate = int.from_bytes(os.urandom(4), "little") | 0x80000001
        if _is_prime(candidate):
            return candidate


def _is_prime(odd: int) -> bool:
    """Miller and Rabin's test; these bases decide it below 2^32."""
    power = ((odd - 1) & (1 - odd)).bit_length() - 1
    rest = (odd - 1) >> power
    for base in (2, 7, 61):
        value = pow(base, rest, odd)
        if value in (1, odd - 1):
            continue
        for _ in range(power - 1):
            value = value * value % odd
            if value == odd - 1:
                break
        else:
            return False
    return True
