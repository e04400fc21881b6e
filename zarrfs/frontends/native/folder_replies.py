"""READDIR and READDIRPLUS: a folder's listing packed into one reply.

The hot path of `ls -l`: for each name one `pack`, or none at all where the tree
has columns. What does not fit is asked for again by its offset. Any thread may
call this module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zarrfs.fuse_protocol.directory import (
    NAME_OFFSET,
    PLUS_NAME_OFFSET,
    dirent_packer,
    direntplus_packer,
)
from zarrfs.fuse_protocol.replies import Replies
from zarrfs.storage.tree import Buffer, NodeId
from zarrfs.vfs.operations import Caller, FileHandle, FileSystem, ListsFolderColumns

if TYPE_CHECKING:
    from zarrfs.frontends.native.packed_folders import PackedBlock

_NANOSECONDS = 1_000_000_000
_SECONDS_MASK = (1 << 64) - 1
_BLOCK_SIZE_BYTES = 4096
_TYPE_SHIFT = 12
"""`d_type` is the file type of `st_mode` without its permission bits."""
_LONGEST_NAME = 255
_BLOCKS_KEPT = 8
"""Folders that are being listed at the same time; a block is 1 to 3 MB."""


class FolderReplies:
    """Answers READDIR and READDIRPLUS for one session."""

    def __init__(self, filesystem: FileSystem, replies: Replies) -> None:
        self._filesystem = filesystem
        self._timeouts = replies.timeouts
        self._columns = filesystem if isinstance(filesystem, ListsFolderColumns) else None
        self._blocks: dict[tuple[NodeId, bool], PackedBlock] = {}
        # By length of name: a list index is the cheapest lookup there is.
        self._packers = [dirent_packer(length) for length in range(_LONGEST_NAME + 1)]
        self._plus_packers = [direntplus_packer(length) for length in range(_LONGEST_NAME + 1)]

    def _from_columns(
        self, nodeid: NodeId, offset: int, size: int, timeouts: tuple[int, int, int, int] | None
    ) -> Buffer | None:
        """Answer from a packed block, packing it if need be; None without columns."""
        key = nodeid, timeouts is not None
        block = self._blocks.get(key)
        reply = None if block is None else block.reply(offset, size)
        if reply is not None:
            return reply
        assert self._columns is not None
        from zarrfs.frontends.native.packed_folders import BLOCK_NAMES, PackedBlock

        columns = self._columns.readdir_columns(nodeid, offset, BLOCK_NAMES)
        if columns is None:
            return None
        if len(self._blocks) >= _BLOCKS_KEPT:
            self._blocks.clear()
        block = self._blocks[key] = PackedBlock(columns, offset, timeouts)
        return block.reply(offset, size) or b""

    def readdir(
        self, caller: Caller, nodeid: NodeId, handle: FileHandle, offset: int, size: int
    ) -> Buffer:
        """Answer READDIR: as many fuse_dirent as fit into `size` bytes."""
        if self._columns is not None:
            packed = self._from_columns(nodeid, offset, size, None)
            if packed is not None:
                return packed
        packers = self._packers
        records = []
        for name, ino, type_bits, next_offset, _ in self._filesystem.readdir(
            caller, nodeid, handle, offset, plus=False
        ):
            length = len(name)
            size -= NAME_OFFSET + (length + 7 & ~7)
            if size < 0:
                break
            records.append(
                packers[length](ino, next_offset, length, type_bits >> _TYPE_SHIFT, name)
            )
        return b"".join(records)

    def readdirplus(
        self, caller: Caller, nodeid: NodeId, handle: FileHandle, offset: int, size: int
    ) -> Buffer:
        """Answer READDIRPLUS: as many fuse_direntplus as fit into `size` bytes.

        An entry counts as a reference, as one of LOOKUP does; the last one that is
        listed here may not be sent, and is given back.
        """
        if self._columns is not None:
            packed = self._from_columns(nodeid, offset, size, self._timeouts)
            if packed is not None:
                return packed
        packers = self._plus_packers
        entry_s, entry_ns, attr_s, attr_ns = self._timeouts
        records = []
        for name, ino, type_bits, next_offset, entry in self._filesystem.readdir(
            caller, nodeid, handle, offset, plus=True
        ):
            length = len(name)
            size -= PLUS_NAME_OFFSET + (length + 7 & ~7)
            if size < 0:
                if entry is not None:
                    self._filesystem.forget(entry[0], 1)
                break
            if entry is None:
                # nodeid 0: "look it up yourself"; not "it is not there".
                records.append(
                    packers[length](*_NO_ENTRY, ino, next_offset, length, type_bits >> 12, name)
                )
                continue
            child, attr, generation = entry
            (
                attr_ino, mode, nlink, uid, gid, rdev, size_bytes, blocks, atime, mtime, ctime,
            ) = attr  # fmt: skip
            records.append(
                packers[length](
                    child, generation, entry_s, attr_s, entry_ns, attr_ns,
                    attr_ino, size_bytes, blocks,
                    atime // _NANOSECONDS & _SECONDS_MASK,
                    mtime // _NANOSECONDS & _SECONDS_MASK,
                    ctime // _NANOSECONDS & _SECONDS_MASK,
                    atime % _NANOSECONDS, mtime % _NANOSECONDS, ctime % _NANOSECONDS,
                    mode, nlink, uid, gid, rdev, _BLOCK_SIZE_BYTES, 0,
                    ino, next_offset, length, type_bits >> _TYPE_SHIFT, name,
                )
            )  # fmt: skip
        return b"".join(records)


_NO_ENTRY = (0,) * 22
"""A fuse_entry_out of zeros."""
