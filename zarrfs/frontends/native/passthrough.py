"""Passthrough: files that the kernel reads and writes without asking us.

FUSE_DEV_IOC_BACKING_OPEN registers a real descriptor and gives a *backing id*;
an OPEN reply that carries it makes the kernel use the real file. The kernel
wants all opens of one node to agree: one backing id for each node while any
handle is open, or none for all of them. So this table counts the open handles
of each node, and closes its backing id with the last.

Backing ids belong to the connection and outlive a killed process. The table
may live in a file (a memfd that the supervisor keeps), from which a successor
goes on. Where the ioctl is refused, files are served by READ and WRITE.

Any thread may call this module. Source: Documentation/filesystems/fuse-passthrough.rst,
fs/fuse/passthrough.c (Linux 6.9, protocol 7.40).
"""

from __future__ import annotations

import fcntl
import logging
import mmap
import os
import sys
import threading
from dataclasses import dataclass
from struct import Struct

from zarrfs.fuse_protocol import structs

logger = logging.getLogger(__name__)

# _IOW(229, 1, struct fuse_backing_map) and _IOW(229, 2, uint32_t).
_BACKING_OPEN = 0x4010E501
_BACKING_CLOSE = 0x4004E502

_SLOT = Struct("=QiI")
"""nodeid, backing id, open handles."""
_SLOTS_GROWN_AT_ONCE = 256


@dataclass(slots=True)
class _Backed:
    """One node that is open. A backing id of 0: served by READ and WRITE."""

    backing_id: int
    opens: int
    slot: int


class BackingFiles:
    """The backing ids of a connection's open nodes."""

    def __init__(self, device_fd: int, ledger_fd: int | None = None) -> None:
        """`ledger_fd` is a file that outlives this process; it is not closed here."""
        self._device_fd = device_fd
        self._lock = threading.Lock()
        self._nodes: dict[int, _Backed] = {}  # Guarded by: _lock
        self._refused = False
        self._ledger = None if ledger_fd is None else _Ledger(ledger_fd)
        if self._ledger is not None:
            for slot, nodeid, backing_id, opens in self._ledger.load():
                self._nodes[nodeid] = _Backed(backing_id, opens, slot)

    def opened(self, nodeid: int, backing_fd: int | None) -> int:
        """Count an open handle; return the backing id for its reply, 0 for none."""
        with self._lock:
            backed = self._nodes.get(nodeid)
            if backed is None:
                backing_id = 0 if backing_fd is None else self._register(backing_fd)
                slot = -1 if self._ledger is None else self._ledger.take_slot()
                backed = self._nodes[nodeid] = _Backed(backing_id, 0, slot)
            backed.opens += 1
            self._record(nodeid, backed)
            return backed.backing_id

    def released(self, nodeid: int) -> None:
        """Count a handle less; the last takes the backing id with it."""
        with self._lock:
            backed = self._nodes.get(nodeid)
            if backed is None:
                return
            backed.opens -= 1
            if backed.opens == 0:
                del self._nodes[nodeid]
                if backed.backing_id:
                    self._unregister(backed.backing_id)
            self._record(nodeid, backed)

    def _register(self, fd: int) -> int:
        if self._refused:
            return 0
        try:
            # A bytearray, because only then does ioctl return its own result.
            backing_map = bytearray(structs.BACKING_MAP.pack(fd, 0, 0))
            return int(fcntl.ioctl(self._device_fd, _BACKING_OPEN, backing_map))
        except OSError as error:
            # EPERM: not CAP_SYS_ADMIN. ELOOP: the file is itself on a stacked
            # file system. Either holds for every file of this mount.
            self._refused = True
            logger.info("passthrough refused (%s): reads and writes are served", error.strerror)
            return 0

    def _unregister(self, backing_id: int) -> None:
        try:
            fcntl.ioctl(self._device_fd, _BACKING_CLOSE, backing_id.to_bytes(4, sys.byteorder))
        except OSError:
            pass  # the connection is gone, and its backing ids with it

    def _record(self, nodeid: int, backed: _Backed) -> None:
        if self._ledger is not None:
            self._ledger.put(backed.slot, nodeid, backed.backing_id, backed.opens)

    def close(self) -> None:
        if self._ledger is not None:
            self._ledger.close()

    def __len__(self) -> int:
        return len(self._nodes)


class _Ledger:
    """The table as an array of slots in a file. Guarded by: the table's lock."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._free: list[int] = []
        self._map: mmap.mmap | None = None
        self._map_file()

    def _map_file(self) -> None:
        size = os.fstat(self._fd).st_size
        if self._map is not None:
            self._map.close()
        self._map = mmap.mmap(self._fd, size) if size else None

    def load(self) -> list[tuple[int, int, int, int]]:
        """Return slot, nodeid, backing id and open handles of each slot in use."""
        used = []
        for slot in range(0 if self._map is None else len(self._map) // _SLOT.size):
            assert self._map is not None
            nodeid, backing_id, opens = _SLOT.unpack_from(self._map, slot * _SLOT.size)
            if opens:
                used.append((slot, nodeid, backing_id, opens))
            else:
                self._free.append(slot)
        return used

    def take_slot(self) -> int:
        if not self._free:
            size = os.fstat(self._fd).st_size
            os.ftruncate(self._fd, size + _SLOTS_GROWN_AT_ONCE * _SLOT.size)
            self._map_file()
            first = size // _SLOT.size
            self._free.extend(range(first + _SLOTS_GROWN_AT_ONCE - 1, first - 1, -1))
        return self._free.pop()

    def put(self, slot: int, nodeid: int, backing_id: int, opens: int) -> None:
        assert self._map is not None
        _SLOT.pack_into(self._map, slot * _SLOT.size, nodeid, backing_id, opens)
        if opens == 0:
            self._free.append(slot)

    def close(self) -> None:
        if self._map is not None:
            self._map.close()
