"""READDIR and READDIRPLUS replies packed from columns, without a loop over names.

A record is a whole number of 64-bit words, so a reply is an array of words
into which each field of all records goes in one assignment: about a tenth of
the time that packing name by name takes. It imports numpy, so it is imported
only where a tree has columns. Pure; any thread may call this module.

Source: struct fuse_direntplus and struct fuse_dirent in fuse.h.
"""

from __future__ import annotations

import sys
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from zarrfs.fuse_protocol.directory import NAME_OFFSET, PLUS_NAME_OFFSET
from zarrfs.storage.tree import FolderColumns

_Words: TypeAlias = NDArray[np.uint64]
_ENTRY_WORDS = (PLUS_NAME_OFFSET - NAME_OFFSET) // 8
_NANOSECONDS = 1_000_000_000
_TYPE_SHIFT = 12
_BLOCK_SIZE_BYTES = 4096

NAMES_ONLY_FROM = 200_000
"""Larger folders are listed without entries: the kernel would make an inode for
each name, which takes longer than listing them and fills its memory."""


def pack_dirents(columns: FolderColumns, next_offset: int, size: int) -> memoryview:
    """Pack as many fuse_dirent as fit into `size` bytes.

    `next_offset` is what continues after the first name.
    """
    reply = _Reply(columns, NAME_OFFSET, size)
    _dirent_fields(reply, columns, next_offset, 0)
    return reply.packed()


def pack_direntplus(
    columns: FolderColumns, next_offset: int, size: int, timeouts: tuple[int, int, int, int]
) -> memoryview:
    """Pack as many fuse_direntplus as fit into `size` bytes.

    `timeouts` are those of `Replies`. In a folder of `NAMES_ONLY_FROM` names or
    more the entries are left out (nodeid 0: "look it up when you need it").
    """
    reply = _Reply(columns, PLUS_NAME_OFFSET, size)
    if columns.folder_size < NAMES_ONLY_FROM:
        _entry_fields(reply, columns, timeouts)
    _dirent_fields(reply, columns, next_offset, _ENTRY_WORDS)
    return reply.packed()


class _Reply:
    """The words of one reply, and where each record begins in them."""

    def __init__(self, columns: FolderColumns, fixed_size: int, size: int) -> None:
        lengths = columns.lengths.astype(np.int64)
        record_sizes = (lengths + (fixed_size + 7)) & ~7
        ends = np.cumsum(record_sizes)
        self.count = count = int(np.searchsorted(ends, size, "right"))
        begins = (ends - record_sizes)[:count]
        self._bytes = np.zeros(int(ends[count - 1]) if count else 0, np.uint8)
        self._words = self._bytes.view(np.uint64)
        self._at = begins >> 3
        self._copy_names(columns, lengths[:count], begins + fixed_size)

    def _copy_names(
        self, columns: FolderColumns, lengths: NDArray[np.int64], targets: NDArray[np.int64]
    ) -> None:
        sources = columns.starts[: self.count].astype(np.int64)
        before = np.cumsum(lengths) - lengths
        steps = np.arange(int(lengths.sum()))
        found = columns.text[np.repeat(sources - before, lengths) + steps]
        self._bytes[np.repeat(targets - before, lengths) + steps] = found

    def put(self, word: int, value: Any) -> None:
        """Set one word of every record: to a column, or to a number."""
        self._words[self._at + word] = value

    def packed(self) -> memoryview:
        return self._bytes.data


def _pair(first: Any, second: Any) -> Any:
    """Return the word that two 32-bit fields make, `first` at the lower address."""
    low, high = (first, second) if sys.byteorder == "little" else (second, first)
    return low | (high << 32)


def _entry_fields(
    reply: _Reply, columns: FolderColumns, timeouts: tuple[int, int, int, int]
) -> None:
    """fuse_entry_out: 16 words, of which generation stays 0."""
    part = slice(0, reply.count)
    entry_s, entry_ns, attr_s, attr_ns = timeouts
    nodeids, sizes = columns.nodeids[part], columns.sizes[part].astype(np.uint64)
    seconds, nanoseconds = np.divmod(columns.mtimes_ns[part], _NANOSECONDS)
    seconds, nanoseconds = seconds.view(np.uint64), nanoseconds.view(np.uint64)
    modes, nlinks = columns.modes[part].astype(np.uint64), columns.nlinks[part].astype(np.uint64)
    reply.put(0, nodeids)
    reply.put(2, entry_s)
    reply.put(3, attr_s)
    reply.put(4, _pair(entry_ns, attr_ns))
    reply.put(5, nodeids)
    reply.put(6, sizes)
    reply.put(7, (sizes + np.uint64(511)) >> np.uint64(9))
    for word in (8, 9, 10):
        reply.put(word, seconds)
    reply.put(11, _pair(nanoseconds, nanoseconds))
    reply.put(12, _pair(nanoseconds, modes))
    reply.put(13, _pair(nlinks, np.uint64(columns.uid)))
    reply.put(14, _pair(columns.gid, 0))
    reply.put(15, _pair(_BLOCK_SIZE_BYTES, 0))


def _dirent_fields(reply: _Reply, columns: FolderColumns, next_offset: int, word: int) -> None:
    """fuse_dirent: ino, off, namelen and type, then the name."""
    part = slice(0, reply.count)
    lengths = columns.lengths[part].astype(np.uint64)
    types = columns.modes[part].astype(np.uint64) >> np.uint64(_TYPE_SHIFT)
    reply.put(word, columns.nodeids[part])
    reply.put(word + 1, np.arange(next_offset, next_offset + reply.count))
    reply.put(word + 2, _pair(lengths, types))
