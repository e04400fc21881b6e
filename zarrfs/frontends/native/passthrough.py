"""Passthrough: files that the kernel reads and writes without asking us.

FUSE_DEV_IOC_BACKING_OPEN registers a real descriptor and gives a *backing id*;
an OPEN reply that carries it makes the kernel use the real file. The kernel
wants all opens of one node to agree: one backing id for each node while any
handle is open, or none for all of them. So this table knows the open handles
of each node, and closes its backing id with the last.

Backing ids belong to the connection and outlive a killed process. The table
may live in a file (a memfd that the supervisor keeps), from which a successor
goes on. It holds handles instead of their number, because an OPEN or RELEASE
that was carried out may be sent again: a number would be counted twice. Where
the ioctl is refused, files are served by READ and WRITE.

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
from typing import NamedTuple

from zarrfs.fuse_protocol import structs
from zarrfs.fuse_protocol.flags import UNIQUE_RESEND

logger = logging.getLogger(__name__)

# _IOW(229, 1, struct fuse_backing_map) and _IOW(229, 2, uint32_t).
_BACKING_OPEN = 0x4010E501
_BACKING_CLOSE = 0x4004E502

_SLOT = Struct("<QQQiI")
"""handle, nodeid, unique of the request that opened it, backing id, state."""
_STATE_OFFSET = _SLOT.size - 4
_FREE, _OPEN, _CLOSING = 0, 1, 2
_SLOTS_GROWN_AT_ONCE = 256


@dataclass(slots=True)
class _Backed:
    """One node that is open. A backing id of 0: served by READ and WRITE."""

    backing_id: int
    opens: int


class _Slot(NamedTuple):
    """One open handle, and where the ledger has it."""

    number: int
    handle: int
    nodeid: int
    unique: int
    backing_id: int


class BackingFiles:
    """The backing ids of a connection's open nodes."""

    def __init__(self, device_fd: int, ledger_fd: int | None = None) -> None:
        """`ledger_fd` is a file that outlives this process; it is not closed here."""
        self._device_fd = device_fd
        self._lock = threading.Lock()
        self._nodes: dict[int, _Backed] = {}  # Guarded by: _lock
        self._handles: dict[int, _Slot] = {}  # Guarded by: _lock
        self._opened_by: dict[int, int] = {}
        """A predecessor's handles by the request that opened them. Guarded by: `_lock`."""
        self._refused = False
        self._ledger = None if ledger_fd is None else _Ledger(ledger_fd)
        if self._ledger is not None:
            self._take_over(self._ledger)

    def _take_over(self, ledger: _Ledger) -> None:
        """Go on with what a predecessor left; end what it was about to close."""
        opened, closing = ledger.load()
        for slot in opened:
            self._count(slot)
            self._opened_by[slot.unique] = slot.handle
        for slot in closing:
            self._unregister(slot.backing_id)
            ledger.free(slot.number)

    def opened(self, nodeid: int, handle: int, unique: int, backing_fd: int | None) -> int:
        """Note an open handle; return the backing id for its reply, 0 for none.

        `unique` is the request's. One that is sent again opened a handle before of
        which the kernel was never told.
        """
        with self._lock:
            backed = self._nodes.get(nodeid)
            if backed is not None:
                backing_id = backed.backing_id
            else:
                backing_id = 0 if backing_fd is None else self._register(backing_fd)
            number = -1 if self._ledger is None else self._ledger.take_slot()
            slot = _Slot(number, handle, nodeid, unique & ~UNIQUE_RESEND, backing_id)
            self._count(slot)
            if self._ledger is not None:
                self._ledger.put(slot)
            if unique & UNIQUE_RESEND:
                self._discount(self._opened_by.pop(slot.unique, None))
            return backing_id

    def released(self, handle: int) -> None:
        """Forget a handle; the last one of a node takes the backing id with it."""
        with self._lock:
            self._discount(handle)

    def _count(self, slot: _Slot) -> None:
        backed = self._nodes.get(slot.nodeid)
        if backed is None:
            backed = self._nodes[slot.nodeid] = _Backed(slot.backing_id, 0)
        backed.opens += 1
        self._handles[slot.handle] = slot

    def _discount(self, handle: int | None) -> None:
        slot = None if handle is None else self._handles.pop(handle, None)
        if slot is None:
            return
        backed = self._nodes[slot.nodeid]
        backed.opens -= 1
        if backed.opens == 0:
            del self._nodes[slot.nodeid]
            if backed.backing_id:
                if self._ledger is not None:
                    self._ledger.closing(slot.number)
                self._unregister(backed.backing_id)
        if self._ledger is not None:
            self._ledger.free(slot.number)

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

    def close(self) -> None:
        if self._ledger is not None:
            self._ledger.close()

    def __len__(self) -> int:
        return len(self._nodes)


class _Ledger:
    """The open handles as an array of slots in a file. Guarded by: the table's lock."""

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

    def load(self) -> tuple[list[_Slot], list[_Slot]]:
        """Return the handles that are open, and those whose backing ids were being closed."""
        found: dict[int, list[_Slot]] = {_OPEN: [], _CLOSING: []}
        for number in range(0 if self._map is None else len(self._map) // _SLOT.size):
            assert self._map is not None
            *fields, state = _SLOT.unpack_from(self._map, number * _SLOT.size)
            if state == _FREE:
                self._free.append(number)
            else:
                found[state].append(_Slot(number, *fields))
        return found[_OPEN], found[_CLOSING]

    def take_slot(self) -> int:
        if not self._free:
            size = os.fstat(self._fd).st_size
            os.ftruncate(self._fd, size + _SLOTS_GROWN_AT_ONCE * _SLOT.size)
            self._map_file()
            first = size // _SLOT.size
            self._free.extend(range(first + _SLOTS_GROWN_AT_ONCE - 1, first - 1, -1))
        return self._free.pop()

    def put(self, slot: _Slot) -> None:
        """Note a handle as open; the state comes last, when the rest is there."""
        assert self._map is not None
        _SLOT.pack_into(self._map, slot.number * _SLOT.size, *slot[1:], _FREE)
        self._set_state(slot.number, _OPEN)

    def closing(self, number: int) -> None:
        self._set_state(number, _CLOSING)

    def free(self, number: int) -> None:
        self._set_state(number, _FREE)
        self._free.append(number)

    def _set_state(self, number: int, state: int) -> None:
        assert self._map is not None
        self._map[number * _SLOT.size + _STATE_OFFSET] = state

    def close(self) -> None:
        if self._map is not None:
            self._map.close()
