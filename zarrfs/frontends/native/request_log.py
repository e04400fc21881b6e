"""Requests that must not be carried out twice, though they may be sent twice.

When a process dies, the kernel sends what it did not answer again to its
successor. Most requests may simply be done again; MKDIR or RENAME may not. So
each of those is noted in shared memory before it is done (*begun*) and after
(*done*, with its reply). A successor answers what was done from the note, and
does what was only begun with a mind open to finding it done already.

The memory is a memfd of slots, one for each serving thread; a successor's
threads take the slots that were used the longest time ago. Any thread may call
`once`; a slot belongs to its thread.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

from zarrfs.errors import AttributeNotFoundError, ExistsError, NotFoundError
from zarrfs.fuse_protocol.flags import UNIQUE_RESEND
from zarrfs.fuse_protocol.opcodes import Opcode
from zarrfs.storage.tree import NodeId
from zarrfs.vfs.operations import Caller

Handle = Callable[..., Any]
Body = bytes | None

_SLOT_BYTES: Final = 512
_SLOTS: Final = 512
_HEAD: Final = struct.Struct("<QHB5x")
"""unique, length of the reply, state; the reply follows."""
_STATE_OFFSET: Final = 10
_EMPTY, _BEGUN, _DONE = 0, 1, 2

ONCE: Final = (
    *(Opcode.MKDIR, Opcode.MKNOD, Opcode.SYMLINK, Opcode.LINK, Opcode.CREATE),
    *(Opcode.UNLINK, Opcode.RMDIR, Opcode.RENAME, Opcode.RENAME2),
    *(Opcode.SETXATTR, Opcode.REMOVEXATTR, Opcode.WRITE),
)
"""What must not be done twice; of WRITE only what appends."""

_EXISTS: Final = (ExistsError, FileExistsError)
_ABSENT: Final = (NotFoundError, FileNotFoundError)
_HANDLE_APPENDS: Final = 4
"""The bit of a file handle that `vfs.handles` sets for O_APPEND."""


_RENAME_EXCHANGE: Final = 2
"""Source: renameat2(2)."""
_NODEID: Final = struct.Struct("=Q")
"""What a reply's entry begins with."""


class Noted(NamedTuple):
    """What a predecessor noted of a request. `body` is None when it was only begun."""

    body: bytes | None
    before: bytes
    """What a successor must know of how things were, if it was only begun."""


class RequestLog:
    """The slots of one connection."""

    def __init__(self, fd: int) -> None:
        """`fd` is a memfd that outlives this process; it is not closed here."""
        size = _SLOT_BYTES * _SLOTS
        if os.fstat(fd).st_size < size:
            os.ftruncate(fd, size)
        self._map = mmap.mmap(fd, size)
        self._noted: dict[int, Noted] = {}
        self._free: list[int] = []
        self._local = threading.local()
        self._read()

    def _read(self) -> None:
        """Take in what a predecessor noted; the oldest slots are used first."""
        used = []
        for at in range(0, len(self._map), _SLOT_BYTES):
            unique, length, state = _HEAD.unpack_from(self._map, at)
            used.append((unique if state else 0, at))
            if state:
                start = at + _HEAD.size
                said = self._map[start : start + length]
                is_done = state == _DONE
                self._noted[unique] = Noted(said if is_done else None, b"" if is_done else said)
        self._free = [at for _, at in sorted(used, reverse=True)]

    def noted(self, unique: int) -> Noted | None:
        """Return what a predecessor noted of a request that is sent again."""
        return self._noted.pop(unique & ~UNIQUE_RESEND, None) if unique & UNIQUE_RESEND else None

    def begin(self, unique: int, before: bytes = b"") -> int:
        """Note that a request is being done, and how things were before; return the slot."""
        try:
            at: int = self._local.at
        except AttributeError:
            # list.pop is atomic; there are more slots than threads.
            at = self._local.at = self._free.pop()
        self._map[at + _STATE_OFFSET] = _EMPTY
        _HEAD.pack_into(self._map, at, unique & ~UNIQUE_RESEND, len(before), _EMPTY)
        if before:
            start = at + _HEAD.size
            self._map[start : start + len(before)] = before
        self._map[at + _STATE_OFFSET] = _BEGUN
        return at

    def finish(self, at: int, unique: int, body: Body) -> None:
        """Note that it was done, and with which reply."""
        reply = body or b""
        start = at + _HEAD.size
        self._map[start : start + len(reply)] = reply
        _HEAD.pack_into(self._map, at, unique & ~UNIQUE_RESEND, len(reply), _BEGUN)
        self._map[at + _STATE_OFFSET] = _DONE

    def give_up(self, at: int) -> None:
        """Note that nothing was done."""
        self._map[at + _STATE_OFFSET] = _EMPTY

    def close(self) -> None:
        self._map.close()


class Once:
    """Wraps the handlers of requests that must not be done twice."""

    def __init__(
        self,
        log: RequestLog,
        lookup: Handle,
        read: Handle,
        forget: Callable[[NodeId, int], None],
    ) -> None:
        """`lookup` answers LOOKUP with a reply's body, `read` reads as `vfs` does."""
        self._log = log
        self._lookup = lookup
        self._read = read
        self._forget = forget
        self._again: dict[Opcode, Callable[..., Body]] = {
            Opcode.MKDIR: self._made_again,
            Opcode.MKNOD: self._made_again,
            Opcode.SYMLINK: self._made_again,
            Opcode.LINK: self._linked_again,
            Opcode.CREATE: self._created_again,
            Opcode.UNLINK: self._removed_again,
            Opcode.RMDIR: self._removed_again,
            Opcode.RENAME: self._removed_again,
            Opcode.RENAME2: self._removed_again,
            Opcode.SETXATTR: self._set_again,
            Opcode.REMOVEXATTR: self._removed_again,
            Opcode.WRITE: self._written_again,
        }

    def wrap(self, opcode: Opcode, handle: Handle) -> Handle:
        """Return a handler that does each request once; `handle` returns the body."""
        again = self._again[opcode]
        log = self._log

        def once(caller: Caller, nodeid: NodeId, *arguments: Any) -> Body:
            unique = caller.unique
            noted = log.noted(unique)
            if noted is not None and noted.body is not None:
                return noted.body
            slot = log.begin(unique)
            try:
                if noted is None:
                    body: Body = handle(caller, nodeid, *arguments)
                else:
                    body = again(handle, caller, nodeid, *arguments)
            except BaseException:
                log.give_up(slot)
                raise
            log.finish(slot, unique, body)
            return body

        if opcode is Opcode.RENAME2:
            return partial(self._rename, once, handle)
        if opcode is not Opcode.WRITE:
            return once

        def write(caller: Caller, nodeid: NodeId, handle_number: int, *arguments: Any) -> Body:
            if handle_number & _HANDLE_APPENDS:
                return once(caller, nodeid, handle_number, *arguments)
            body: Body = handle(caller, nodeid, handle_number, *arguments)
            return body

        return write

    def _rename(
        self,
        once: Handle,
        handle: Handle,
        caller: Caller,
        parent: NodeId,
        name: bytes,
        new_parent: NodeId,
        new_name: bytes,
        flags: int,
    ) -> Body:
        """An exchange done twice is none: who was where tells whether it was done."""
        arguments = (caller, parent, name, new_parent, new_name, flags)
        if not flags & _RENAME_EXCHANGE:
            body: Body = once(*arguments)
            return body
        noted = self._log.noted(caller.unique)
        if noted is not None and noted.body is not None:
            return noted.body
        there = _NODEID.pack(self._node_at(caller, parent, name))
        before = noted.before if noted is not None and noted.before else there
        slot = self._log.begin(caller.unique, before)
        if before == there:
            try:
                handle(*arguments)
            except BaseException:
                self._log.give_up(slot)
                raise
        self._log.finish(slot, caller.unique, None)
        return None

    def _node_at(self, caller: Caller, parent: NodeId, name: bytes) -> NodeId:
        nodeid = _nodeid_of(self._lookup(caller, parent, name))
        self._forget(nodeid, 1)
        return nodeid

    # What was begun, done with a mind open to finding it done

    def _made_again(
        self, handle: Handle, caller: Caller, parent: NodeId, name: bytes, *rest: Any
    ) -> Body:
        try:
            body: Body = handle(caller, parent, name, *rest)
        except _EXISTS:
            body = self._lookup(caller, parent, name)
        return body

    def _linked_again(
        self, handle: Handle, caller: Caller, parent: NodeId, nodeid: NodeId, name: bytes
    ) -> Body:
        try:
            body: Body = handle(caller, parent, nodeid, name)
        except _EXISTS:
            found: bytes = self._lookup(caller, parent, name)
            if _nodeid_of(found) != nodeid:  # another's: only one may have made it
                self._forget(_nodeid_of(found), 1)
                raise
            body = found
        return body

    def _created_again(
        self,
        handle: Handle,
        caller: Caller,
        parent: NodeId,
        name: bytes,
        mode: int,
        flags: int,
        *rest: Any,
    ) -> Body:
        body: Body = handle(caller, parent, name, mode, flags & ~os.O_EXCL, *rest)
        return body

    def _removed_again(
        self, handle: Handle, caller: Caller, nodeid: NodeId, *arguments: Any
    ) -> Body:
        try:
            handle(caller, nodeid, *arguments)
        except (*_ABSENT, AttributeNotFoundError):
            pass
        return None

    def _set_again(self, handle: Handle, caller: Caller, nodeid: NodeId, *arguments: Any) -> Body:
        try:
            handle(caller, nodeid, *arguments)
        except _EXISTS:
            pass
        return None

    def _written_again(
        self,
        handle: Handle,
        caller: Caller,
        nodeid: NodeId,
        handle_number: int,
        offset: int,
        data: memoryview,
        write_flags: int,
    ) -> Body:
        """An append: what it would have written may be there already."""
        there = self._read(caller, nodeid, handle_number, offset, len(data))
        if bytes(there) == bytes(data):
            return struct.pack("<II", len(data), 0)
        body: Body = handle(caller, nodeid, handle_number, offset, data, write_flags)
        return body


def _nodeid_of(entry: bytes) -> NodeId:
    """Return the nodeid in the body of a reply to LOOKUP; 0 where there is nothing."""
    return NodeId(_NODEID.unpack_from(entry)[0])
