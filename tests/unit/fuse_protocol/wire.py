"""Requests as the kernel writes them, for tests of whoever reads them."""

from __future__ import annotations

from zarrfs.fuse_protocol.structs import IN_HEADER

UNIQUE = 0x1122334455667788


def request(
    opcode: int,
    body: bytes = b"",
    *,
    nodeid: int = 1,
    unique: int = UNIQUE,
    uid: int = 1000,
    gid: int = 100,
    pid: int = 4242,
    extensions: bytes = b"",
) -> bytes:
    """Return a whole message; `extensions` are a multiple of 8 bytes."""
    length = IN_HEADER.size + len(body) + len(extensions)
    header = IN_HEADER.pack(length, opcode, unique, nodeid, uid, gid, pid, len(extensions) // 8)
    return header + body + extensions
