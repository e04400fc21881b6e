"""The opcodes: one row each, with what to parse and what to build.

Pure. The rows know nothing of file systems: a frontend puts its handlers
beside them. An opcode without a row is answered ENOSYS, which the kernel
remembers; so each absence is a decision:

- GETLK, SETLK, SETLKW: locks are left to the kernel, which is right for every
  process of this machine, and all of a mount's clients are here.
- BMAP, IOCTL, POLL, TMPFILE, STATX, SYNCFS, SETUPMAPPING: the kernel falls
  back to something sensible (no FIBMAP, ENOTTY, always ready, EOPNOTSUPP,
  GETATTR, FSYNC of each file, no DAX).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Any, NamedTuple

from zarrfs.fuse_protocol import negotiation, replies, requests
from zarrfs.fuse_protocol.replies import Replies


class Opcode(IntEnum):
    """enum fuse_opcode."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    READLINK = 5
    SYMLINK = 6
    MKNOD = 8
    MKDIR = 9
    UNLINK = 10
    RMDIR = 11
    RENAME = 12
    LINK = 13
    OPEN = 14
    READ = 15
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    FSYNC = 20
    SETXATTR = 21
    GETXATTR = 22
    LISTXATTR = 23
    REMOVEXATTR = 24
    FLUSH = 25
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    FSYNCDIR = 30
    GETLK = 31
    SETLK = 32
    SETLKW = 33
    ACCESS = 34
    CREATE = 35
    INTERRUPT = 36
    BMAP = 37
    DESTROY = 38
    IOCTL = 39
    POLL = 40
    NOTIFY_REPLY = 41
    BATCH_FORGET = 42
    FALLOCATE = 43
    READDIRPLUS = 44
    RENAME2 = 45
    LSEEK = 46
    COPY_FILE_RANGE = 47
    SETUPMAPPING = 48
    REMOVEMAPPING = 49
    SYNCFS = 50
    TMPFILE = 51
    STATX = 52
    COPY_FILE_RANGE_64 = 53


OPCODE_LIMIT = 64
"""Above every opcode there is; tables of counters have this many rows."""


class Answer(IntEnum):
    """What the kernel expects back."""

    NOTHING = 0
    """No reply at all, not even an error."""
    HEADER = 1
    """Success is a header alone."""
    BODY = 2
    """Success carries a struct or bytes."""


class Wire(NamedTuple):
    """How one opcode's messages look."""

    opcode: Opcode
    since_minor: int
    parse: Callable[[requests.Message, int], tuple[Any, ...]]
    answer: Answer
    build: Callable[..., bytes] | None = None
    """Makes the body from the operation's result, where one function can.

    Methods of `Replies` want the connection's instance as the first argument.
    """


_ROWS = (
    Wire(Opcode.LOOKUP, 0, requests.name, Answer.BODY, Replies.entry),
    Wire(Opcode.FORGET, 0, requests.forget, Answer.NOTHING),
    Wire(Opcode.GETATTR, 9, requests.getattr_, Answer.BODY, Replies.attr),
    Wire(Opcode.SETATTR, 9, requests.setattr_, Answer.BODY, Replies.attr),
    Wire(Opcode.READLINK, 0, requests.nothing, Answer.BODY),
    Wire(Opcode.SYMLINK, 0, requests.symlink, Answer.BODY, Replies.entry),
    Wire(Opcode.MKNOD, 12, requests.mknod, Answer.BODY, Replies.entry),
    Wire(Opcode.MKDIR, 12, requests.mkdir, Answer.BODY, Replies.entry),
    Wire(Opcode.UNLINK, 0, requests.name, Answer.HEADER),
    Wire(Opcode.RMDIR, 0, requests.name, Answer.HEADER),
    Wire(Opcode.RENAME, 0, requests.rename, Answer.HEADER),
    Wire(Opcode.LINK, 0, requests.link, Answer.BODY, Replies.entry),
    Wire(Opcode.OPEN, 0, requests.open_, Answer.BODY),
    Wire(Opcode.READ, 9, requests.read, Answer.BODY),
    Wire(Opcode.WRITE, 9, requests.write, Answer.BODY, replies.written),
    Wire(Opcode.STATFS, 0, requests.nothing, Answer.BODY, replies.statfs),
    Wire(Opcode.RELEASE, 8, requests.release, Answer.HEADER),
    Wire(Opcode.FSYNC, 0, requests.fsync, Answer.HEADER),
    Wire(Opcode.SETXATTR, 0, requests.setxattr, Answer.HEADER),
    Wire(Opcode.GETXATTR, 0, requests.getxattr, Answer.BODY),
    Wire(Opcode.LISTXATTR, 0, requests.listxattr, Answer.BODY),
    Wire(Opcode.REMOVEXATTR, 0, requests.name, Answer.HEADER),
    Wire(Opcode.FLUSH, 0, requests.flush, Answer.HEADER),
    Wire(Opcode.INIT, 0, negotiation.parse_init, Answer.BODY, negotiation.init_reply),
    Wire(Opcode.OPENDIR, 0, requests.open_, Answer.BODY),
    Wire(Opcode.READDIR, 0, requests.read, Answer.BODY),
    Wire(Opcode.RELEASEDIR, 8, requests.release, Answer.HEADER),
    Wire(Opcode.FSYNCDIR, 2, requests.fsync, Answer.HEADER),
    Wire(Opcode.ACCESS, 3, requests.access, Answer.HEADER),
    Wire(Opcode.CREATE, 12, requests.create, Answer.BODY),
    Wire(Opcode.INTERRUPT, 7, requests.interrupt, Answer.NOTHING),
    Wire(Opcode.DESTROY, 8, requests.nothing, Answer.HEADER),
    Wire(Opcode.BATCH_FORGET, 16, requests.batch_forget, Answer.NOTHING),
    Wire(Opcode.FALLOCATE, 19, requests.fallocate, Answer.HEADER),
    Wire(Opcode.READDIRPLUS, 21, requests.read, Answer.BODY),
    Wire(Opcode.RENAME2, 23, requests.rename2, Answer.HEADER),
    Wire(Opcode.LSEEK, 24, requests.lseek, Answer.BODY, replies.lseek),
    Wire(Opcode.COPY_FILE_RANGE, 28, requests.copy_file_range, Answer.BODY, replies.written),
)

WIRE: dict[Opcode, Wire] = {row.opcode: row for row in _ROWS}
