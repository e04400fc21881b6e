"""Notifications: what the daemon tells the kernel unasked, as whole messages.

Pure. Each is a fuse_out_header with `unique` 0 and the code where a reply has
its error, followed by the code's struct.
"""

from __future__ import annotations

from zarrfs.fuse_protocol import structs
from zarrfs.fuse_protocol.flags import NotifyCode


def _message(code: NotifyCode, body: bytes) -> bytes:
    return structs.OUT_HEADER.pack(structs.OUT_HEADER.size + len(body), code, 0) + body


def inval_inode(nodeid: int, offset: int = 0, length: int = 0) -> bytes:
    """Forget attributes, and content in a range; a length of 0 means to the end.

    A negative offset spares the content.
    """
    body = structs.NOTIFY_INVAL_INODE_OUT.pack(nodeid, offset, length)
    return _message(NotifyCode.INVAL_INODE, body)


def inval_entry(parent: int, name: bytes, flags: int = 0) -> bytes:
    """Forget what a name means; with EXPIRE_ONLY, ask at the next use."""
    body = structs.NOTIFY_INVAL_ENTRY_OUT.pack(parent, len(name), flags)
    return _message(NotifyCode.INVAL_ENTRY, body + name + b"\0")


def delete(parent: int, child: int, name: bytes) -> bytes:
    """A name was removed: also tells inotify, and unhashes a busy folder."""
    body = structs.NOTIFY_DELETE_OUT.pack(parent, child, len(name))
    return _message(NotifyCode.DELETE, body + name + b"\0")


def resend() -> bytes:
    """Send again every request that was read and not answered (7.40)."""
    return _message(NotifyCode.RESEND, b"")
