"""The table of what answers each opcode, and the handlers that need code.

Most rows pass a request straight to the `FileSystem` method of the same name.
A handler exists where the protocol and `vfs` differ: flags become keywords,
passthrough, set-ID bits, sizes of extended attributes, what is answered
ENOSYS so that the kernel never asks again. Handlers carry the opcode's name.

All handlers may be called from several threads at once.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from zarrfs.errors import NotFoundError
from zarrfs.frontends.native.expectation import Expectation
from zarrfs.frontends.native.folder_replies import FolderReplies
from zarrfs.frontends.native.passthrough import BackingFiles
from zarrfs.frontends.native.request_log import ONCE, Once, RequestLog
from zarrfs.fuse_protocol import replies as build
from zarrfs.fuse_protocol.flags import (
    OPEN_KILL_SUIDGID,
    WRITE_KILL_SUIDGID,
    OpenReplyFlags,
    SetattrValid,
)
from zarrfs.fuse_protocol.opcodes import OPCODE_LIMIT, WIRE, Answer, Opcode
from zarrfs.fuse_protocol.replies import Replies
from zarrfs.fuse_protocol.requests import Message, Setattr
from zarrfs.storage.tree import AttrChange, NodeId
from zarrfs.vfs.operations import CachePolicy, Caller, FileHandle, FileSystem, Opened

_DIRECT_IO = int(OpenReplyFlags.DIRECT_IO)
_KEEP_CACHE = int(OpenReplyFlags.KEEP_CACHE)
_NOFLUSH = int(OpenReplyFlags.NOFLUSH)
_PASSTHROUGH = int(OpenReplyFlags.PASSTHROUGH)
_CACHE_DIR = int(OpenReplyFlags.CACHE_DIR)


class Route(NamedTuple):
    """How one opcode is answered."""

    parse: Callable[[Message, int], tuple[Any, ...]]
    handle: Callable[..., Any]
    build: Callable[[Any], bytes] | None
    """Makes the body from what the handler returns; None where it is the body."""
    is_answered: bool


class UnansweredOpcodeError(OSError):
    """Answered ENOSYS: the kernel remembers it and does without the opcode."""

    def __init__(self) -> None:
        super().__init__(errno.ENOSYS, "this opcode is not answered")


class Handlers:
    """What `vfs` cannot be handed as it is."""

    def __init__(
        self,
        filesystem: FileSystem,
        policy: CachePolicy,
        replies: Replies,
        backing: BackingFiles | None,
        expectation: Expectation | None,
    ) -> None:
        self._filesystem = filesystem
        self._policy = policy
        self._replies = replies
        self._backing = backing
        self._lookup = filesystem.lookup if expectation is None else expectation.lookup

    # Names and attributes

    def lookup(self, caller: Caller, parent: NodeId, name: bytes) -> bytes:
        try:
            entry = self._lookup(caller, parent, name)
        except (NotFoundError, FileNotFoundError):
            if self._replies.negative_entry is None:
                raise
            return self._replies.negative_entry
        return self._replies.entry(entry)

    def forget(self, caller: Caller, nodeid: NodeId, count: int) -> None:
        self._filesystem.forget(nodeid, count)

    def batch_forget(
        self, caller: Caller, nodeid: NodeId, forgotten: list[tuple[NodeId, int]]
    ) -> None:
        for one, count in forgotten:
            self._filesystem.forget(one, count)

    def setattr(self, caller: Caller, nodeid: NodeId, request: Setattr) -> bytes:
        valid = request.valid
        if valid & SetattrValid.KILL_SUIDGID:
            self._filesystem.killpriv(caller, nodeid)
        now_ns = time.time_ns() if valid & _NOW else 0
        change = AttrChange(
            mode=request.mode if valid & SetattrValid.MODE else None,
            uid=request.uid if valid & SetattrValid.UID else None,
            gid=request.gid if valid & SetattrValid.GID else None,
            size=request.size if valid & SetattrValid.SIZE else None,
            atime_ns=_time(valid, SetattrValid.ATIME, request.atime_ns, now_ns),
            mtime_ns=_time(valid, SetattrValid.MTIME, request.mtime_ns, now_ns),
            ctime_ns=request.ctime_ns if valid & SetattrValid.CTIME else None,
        )
        handle = FileHandle(request.fh) if valid & SetattrValid.FH else None
        return self._replies.attr(self._filesystem.setattr(caller, nodeid, change, handle))

    def link(self, caller: Caller, parent: NodeId, nodeid: NodeId, name: bytes) -> bytes:
        return self._replies.entry(self._filesystem.link(caller, nodeid, parent, name))

    # Files

    def open(self, caller: Caller, nodeid: NodeId, flags: int, open_flags: int) -> bytes:
        if open_flags & OPEN_KILL_SUIDGID:
            self._filesystem.killpriv(caller, nodeid)
        return self._opened(caller, nodeid, self._filesystem.open(caller, nodeid, flags))

    def create(
        self,
        caller: Caller,
        parent: NodeId,
        name: bytes,
        mode: int,
        flags: int,
        umask: int,
        open_flags: int,
    ) -> bytes:
        entry, opened = self._filesystem.create(caller, parent, name, mode, flags, umask)
        return self._replies.entry(entry) + self._opened(caller, entry.nodeid, opened)

    def _opened(self, caller: Caller, nodeid: NodeId, opened: Opened) -> bytes:
        backing_id = 0
        if self._backing is not None:
            backing_id = self._backing.opened(
                nodeid, opened.handle, caller.unique, opened.backing_fd
            )
        flags = _NOFLUSH if opened.no_flush else 0
        if backing_id:
            # KEEP_CACHE beside PASSTHROUGH makes the kernel fail the open.
            return build.opened(opened.handle, flags | _PASSTHROUGH, backing_id)
        if opened.keep_cache:
            flags |= _KEEP_CACHE
        if opened.direct_io:
            flags |= _DIRECT_IO
        return build.opened(opened.handle, flags)

    def write(
        self,
        caller: Caller,
        nodeid: NodeId,
        handle: FileHandle,
        offset: int,
        data: memoryview,
        write_flags: int,
    ) -> bytes:
        if write_flags & WRITE_KILL_SUIDGID:
            self._filesystem.killpriv(caller, nodeid)
        return build.written(self._filesystem.write(caller, nodeid, handle, offset, data))

    def fsync(self, caller: Caller, nodeid: NodeId, handle: FileHandle, data_only: bool) -> None:
        self._filesystem.fsync(caller, nodeid, handle, data_only=data_only)

    def release(self, caller: Caller, nodeid: NodeId, handle: FileHandle) -> None:
        if self._backing is not None:
            self._backing.released(handle)
        self._filesystem.release(nodeid, handle)

    # Folders

    def opendir(self, caller: Caller, nodeid: NodeId, flags: int, open_flags: int) -> bytes:
        opened = self._filesystem.opendir(caller, nodeid)
        reply_flags = 0
        if self._policy.cache_dir:
            reply_flags = _CACHE_DIR | (_KEEP_CACHE if opened.keep_cache else 0)
        return build.opened(opened.handle, reply_flags)

    def fsyncdir(self, caller: Caller, nodeid: NodeId, handle: FileHandle, data_only: bool) -> None:
        self._filesystem.fsyncdir(caller, nodeid, handle, data_only=data_only)

    def releasedir(self, caller: Caller, nodeid: NodeId, handle: FileHandle) -> None:
        self._filesystem.releasedir(nodeid, handle)

    # Extended attributes

    def getxattr(self, caller: Caller, nodeid: NodeId, name: bytes, size: int) -> bytes:
        return _fitted(self._filesystem.getxattr(caller, nodeid, name), size)

    def listxattr(self, caller: Caller, nodeid: NodeId, size: int) -> bytes:
        names = self._filesystem.listxattr(caller, nodeid)
        return _fitted(b"".join(name + b"\0" for name in names), size)

    # What is not answered

    def enosys(self, *arguments: object) -> None:
        raise UnansweredOpcodeError


_NOW = SetattrValid.ATIME_NOW | SetattrValid.MTIME_NOW


def _time(valid: int, which: SetattrValid, time_ns: int, now_ns: int) -> int | None:
    """ATIME_NOW and MTIME_NOW are three bits above ATIME and MTIME."""
    if not valid & which:
        return None
    return now_ns if valid & which << 3 else time_ns


def _fitted(value: bytes, size: int) -> bytes:
    """Answer getxattr(2): the size alone when asked with 0, ERANGE when too small."""
    if size == 0:
        return build.xattr_size(len(value))
    if len(value) > size:
        raise OSError(errno.ERANGE, "the buffer is too small")
    return value


Routes: TypeAlias = list[Route | None]
"""Indexed by opcode; None is answered ENOSYS."""


def routes_of(handlers: Mapping[Opcode, Callable[..., Any]]) -> Routes:
    """Return a table of handlers whose results the wire's rows build replies from."""
    table: Routes = [None] * OPCODE_LIMIT
    for opcode, handle in handlers.items():
        table[opcode] = _route(opcode, handle, WIRE[opcode].build)
    return table


def routes(
    filesystem: FileSystem,
    policy: CachePolicy,
    of_session: Mapping[Opcode, Callable[..., Any]],
    *,
    backing: BackingFiles | None = None,
    request_log: RequestLog | None = None,
    expectation: Expectation | None = None,
) -> Routes:
    """Return the table of a file system, and of what the session answers itself.

    With a log, what must not be done twice is noted there; an expectation
    watches LOOKUP and READ.
    """
    replies = Replies(policy.entry_timeout_s, policy.attr_timeout_s, policy.negative_timeout_s)
    own = Handlers(filesystem, policy, replies, backing, expectation)
    folders = FolderReplies(filesystem, replies)
    handlers: dict[Opcode, Callable[..., Any]] = {
        Opcode.LOOKUP: own.lookup,
        Opcode.FORGET: own.forget,
        Opcode.BATCH_FORGET: own.batch_forget,
        Opcode.GETATTR: filesystem.getattr,
        Opcode.SETATTR: own.setattr,
        Opcode.READLINK: filesystem.readlink,
        Opcode.SYMLINK: filesystem.symlink,
        Opcode.MKNOD: filesystem.mknod,
        Opcode.MKDIR: filesystem.mkdir,
        Opcode.UNLINK: filesystem.unlink,
        Opcode.RMDIR: filesystem.rmdir,
        Opcode.RENAME: filesystem.rename,
        Opcode.RENAME2: filesystem.rename,
        Opcode.LINK: own.link,
        Opcode.OPEN: own.open,
        Opcode.CREATE: own.create,
        Opcode.READ: filesystem.read if expectation is None else expectation.read,
        Opcode.WRITE: own.write,
        Opcode.COPY_FILE_RANGE: filesystem.copy_file_range,
        Opcode.FALLOCATE: filesystem.fallocate,
        Opcode.LSEEK: filesystem.lseek,
        Opcode.FLUSH: filesystem.flush,
        Opcode.FSYNC: own.fsync,
        Opcode.RELEASE: own.release,
        Opcode.OPENDIR: own.opendir,
        Opcode.READDIR: folders.readdir,
        Opcode.READDIRPLUS: folders.readdirplus,
        Opcode.FSYNCDIR: own.fsyncdir,
        Opcode.RELEASEDIR: own.releasedir,
        Opcode.LISTXATTR: own.listxattr,
        Opcode.GETXATTR: own.getxattr,
        Opcode.SETXATTR: filesystem.setxattr,
        Opcode.REMOVEXATTR: filesystem.removexattr,
        Opcode.ACCESS: filesystem.access,
        Opcode.STATFS: filesystem.statfs,
        Opcode.DESTROY: _nothing,
    }
    for opcode in _unasked(filesystem, policy):
        handlers[opcode] = own.enosys
    table = routes_of(of_session)
    for opcode, handle in handlers.items():
        table[opcode] = _route(opcode, handle, _builder(opcode, handle, replies, own))
    if request_log is not None and not filesystem.read_only:
        _do_once(table, Once(request_log, own.lookup, filesystem.read, filesystem.forget))
    return table


def _do_once(table: Routes, once: Once) -> None:
    """Replace the handlers of what must not be done twice."""
    for opcode in ONCE:
        route = table[opcode]
        if route is not None:
            whole = _with_body(route)
            table[opcode] = route._replace(handle=once.wrap(opcode, whole), build=None)


def _with_body(route: Route) -> Callable[..., Any]:
    """Return a handler that builds its reply's body itself."""
    handle, build_body = route.handle, route.build
    if build_body is None:
        return handle
    return lambda *arguments: build_body(handle(*arguments))


def _unasked(filesystem: FileSystem, policy: CachePolicy) -> list[Opcode]:
    """Return the opcodes that the kernel had better not send again.

    Never FSYNC, nor FLUSH where there is anything to write: the kernel would
    take all later ones for done.
    """
    if not policy.stateless_open:
        return []
    opcodes = [Opcode.OPEN, Opcode.OPENDIR]
    return [*opcodes, Opcode.FLUSH] if filesystem.read_only else opcodes


def _builder(
    opcode: Opcode, handle: Callable[..., Any], replies: Replies, own: Handlers
) -> Callable[..., bytes] | None:
    """Return what makes the body of an answer; None where the handler does."""
    built = WIRE[opcode].build
    if getattr(handle, "__self__", None) is own:
        return None
    if built is Replies.entry or built is Replies.attr:
        built = built.__get__(replies)
    return built


def _route(
    opcode: Opcode, handle: Callable[..., Any], build_body: Callable[..., bytes] | None
) -> Route:
    wire = WIRE[opcode]
    return Route(wire.parse, handle, build_body, wire.answer is not Answer.NOTHING)


def _nothing(caller: Caller, nodeid: NodeId) -> None:
    """DESTROY: the session writes everything out once its threads have ended."""
