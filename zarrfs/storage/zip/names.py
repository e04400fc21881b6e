"""What entries are called: decoding, and names that cannot be shown.

Owns the text of one window of records: names one after the other, each
between zeros, in UTF-8 where the archive says what its bytes mean and as they
are otherwise. Most archives need nothing changed, which a few searches over
the whole text establish; only what those find is looked at one by one. Pure;
any thread. Specification: APPNOTE.TXT 4.4.17, appendix D, 4.6.9.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple
from zlib import crc32

import numpy as np

from zarrfs.storage.zip.central import Records
from zarrfs.storage.zip.distinct import distinct
from zarrfs.storage.zip.format import CENTRAL, DOS_HOSTS, UNIX_HOSTS, Extra, Flag
from zarrfs.storage.zip.problems import Problem, Problems
from zarrfs.storage.zip.spans import SLACK, Bools, Bytes, Ints, gather, loads

NAME_MAX: Final = 255
"""Bytes in one component, as Linux allows them."""

_SLASH: Final = ord("/")
_DOT: Final = ord(".")


class Names(NamedTuple):
    """The names of one window of records."""

    text: Bytes
    """Names between zeros, then SLACK zeros."""
    starts: Ints
    lengths: Ints
    shown: Bools
    """False for a name that cannot be shown."""
    slashes: Ints
    """Where the text has slashes, sorted."""


def read_names(window: Bytes, records: Records, problems: Problems) -> Names:
    """Collect the names of a window's records, decoded and checked."""
    raw_lengths = records.fields["name_length"].astype(np.int64)
    text, starts = gather(window, records.starts + CENTRAL.size, raw_lengths)
    names = Names(text, starts, raw_lengths, np.ones(len(starts), np.bool_), _slashes(text))
    rewritten = _rewritten(window, records, names, problems)
    if rewritten:
        names = _with_rewritten(names, rewritten)
    separators = 1 + len(starts) + len(rewritten) + SLACK
    _hide_unusable(names, separators, problems)
    return names


def _slashes(text: Bytes) -> Ints:
    return np.flatnonzero(text == _SLASH)


def _rewritten(
    window: Bytes, records: Records, names: Names, problems: Problems
) -> dict[int, bytes]:
    """Return the names that must be changed, by row."""
    changed: dict[int, bytes] = {}
    content = names.text.tobytes()
    for row, name in _unicode_paths(window, records, names):
        changed[row] = name
    if not content.isascii():
        for row in _rows_at(names, np.flatnonzero(names.text >= 0x80)).tolist():
            if row not in changed:
                changed[row] = _decode(_name(names, row), records, row)
    if b"\\" in content:
        for row in _rows_at(names, np.flatnonzero(names.text == ord("\\"))).tolist():
            if records.fields["host"][row] in DOS_HOSTS:
                name = changed.get(row, _name(names, row)).replace(b"\\", b"/")
                changed[row] = name
                problems.add(Problem(name, "backslashes in its name were read as '/'"))
    dotted = np.flatnonzero(names.text[names.starts] == _DOT)
    for row in dotted[names.text[names.starts[dotted] + 1] == _SLASH].tolist():
        changed[row] = _without_leading_dots(changed.get(row, _name(names, row)))
    return {row: name for row, name in changed.items() if name != _name(names, row)}


def _decode(name: bytes, records: Records, row: int) -> bytes:
    """Without the UTF-8 flag a name is in code page 437, except that Unix writers
    store the bytes of the file system, as UTF-8 or whatever they are."""
    fields = records.fields[row]
    if fields["flags"] & Flag.UTF8 or fields["host"] in UNIX_HOSTS:
        return name
    return name.decode("cp437").encode("utf-8")


def _unicode_paths(window: Bytes, records: Records, names: Names) -> Iterator[tuple[int, bytes]]:
    """4.6.9: version 1, the CRC-32 of the plain name, then the name in UTF-8."""
    sizes = loads(window, 2)
    for row, start in zip(
        records.unicode_rows.tolist(), records.unicode_starts.tolist(), strict=True
    ):
        data = window[start : start + int(sizes[start - 2])].tobytes()
        if data[:1] != b"\x01" or records.fields["flags"][row] & Flag.UTF8:
            continue
        if int.from_bytes(data[1:5], "little") == crc32(_name(names, row)) and data[5:]:
            yield row, data[5:]


def possible_names(raw: bytes, extra: bytes) -> Iterator[bytes]:
    """Yield what the tree may call an entry whose local header says `raw`."""
    decoded = raw.decode("cp437").encode("utf-8")
    for name in (raw, decoded):
        yield _without_leading_dots(name)
        yield _without_leading_dots(name.replace(b"\\", b"/"))
    position = 0
    while position + 4 <= len(extra):
        size = int.from_bytes(extra[position + 2 : position + 4], "little")
        if int.from_bytes(extra[position : position + 2], "little") == Extra.UNICODE_PATH:
            name = extra[position + 9 : position + 4 + size]
            yield name
            yield name.replace(b"\\", b"/")
        position += 4 + size


def _without_leading_dots(name: bytes) -> bytes:
    while name.startswith(b"./"):
        name = name[2:].lstrip(b"/")
    return name


def _with_rewritten(names: Names, changed: dict[int, bytes]) -> Names:
    """Append the changed names to the text, and point their rows there."""
    addition = b"".join(name + b"\0" for name in changed.values())
    end = len(names.text) - SLACK
    text = np.concatenate(
        (names.text[:end], np.frombuffer(addition, np.uint8), np.zeros(SLACK, np.uint8))
    )
    rows = np.fromiter(changed, np.int64, len(changed))
    lengths = np.fromiter(map(len, changed.values()), np.int64, len(changed))
    names.starts[rows] = end + np.cumsum(lengths + 1) - lengths - 1
    names.lengths[rows] = lengths
    return names._replace(text=text, slashes=_slashes(text))


def _hide_unusable(names: Names, separators: int, problems: Problems) -> None:
    """Hide what cannot be a path; `separators` are the zeros the text should have."""
    for positions, reason in _unusable_components(names):
        _hide(names, _rows_at(names, positions), reason, problems)
    _hide(names, np.flatnonzero(names.lengths == 0), "no name", problems)
    if len(names.text) - np.count_nonzero(names.text) != separators:
        zeros = np.flatnonzero(names.text == 0)
        _hide(names, _rows_at(names, zeros), "a zero byte in its name", problems)
    for row in np.flatnonzero(names.lengths > NAME_MAX).tolist():
        if max(map(len, _name(names, row).split(b"/"))) > NAME_MAX:
            _hide(names, np.array([row]), "a name of more than 255 bytes", problems)


def _unusable_components(names: Names) -> Iterator[tuple[Ints, str]]:
    """Look at the first bytes of every component: after a name's start or a slash."""
    text = names.text
    begins = np.concatenate((names.starts, names.slashes + 1))
    first = text[begins]
    yield begins[first == _SLASH], "an absolute name, or an empty component in it"
    dots = begins[first == _DOT]
    second = text[dots + 1]
    yield dots[(second == _SLASH) | (second == 0)], "'.' in its name"
    pairs = dots[second == _DOT]
    third = text[pairs + 2]
    yield pairs[(third == _SLASH) | (third == 0)], "'..' in its name"


def _hide(names: Names, rows: Ints, reason: str, problems: Problems) -> None:
    for row in rows.tolist():
        if names.shown[row]:
            names.shown[row] = False
            problems.add(Problem(_name(names, row), reason, hidden=True))


def _owners(names: Names, positions: Ints) -> tuple[Ints, Bools]:
    """Return the row whose name begins last before each position, and whether
    the position is inside that name."""
    order = np.argsort(names.starts, kind="stable")
    rank = np.searchsorted(names.starts[order], positions, "right") - 1
    rows = order[np.maximum(rank, 0)]
    inside = (rank >= 0) & (positions < names.starts[rows] + names.lengths[rows])
    return rows, inside


def _rows_at(names: Names, positions: Ints) -> Ints:
    rows, inside = _owners(names, positions)
    return distinct(rows[inside])[0]


def _name(names: Names, row: int) -> bytes:
    start = int(names.starts[row])
    return names.text[start : start + int(names.lengths[row])].tobytes()
