"""A kernel for a session: a socket that keeps the bounds of messages, as /dev/fuse does."""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from tests.unit.fuse_protocol.wire import request
from zarrfs.frontends.native.options import NativeOptions
from zarrfs.frontends.native.session import Session
from zarrfs.fuse_protocol.flags import KERNEL_MINOR, InitFlags
from zarrfs.fuse_protocol.negotiation import Negotiated
from zarrfs.fuse_protocol.opcodes import Opcode
from zarrfs.fuse_protocol.structs import OUT_HEADER
from zarrfs.vfs.operations import FileSystem

LIMIT_S = 60.0
NEWEST = Negotiated(KERNEL_MINOR, int(InitFlags.MAX_PAGES), 1 << 20, 1 << 20, 64, 0)


class Answer(NamedTuple):
    error: int
    unique: int
    body: bytes


class Peer:
    """The kernel's end."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        end.settimeout(LIMIT_S)

    def send(self, message: bytes) -> None:
        self._socket.send(message)

    def receive(self) -> Answer:
        message = self._socket.recv(1 << 21)
        length, error, unique = OUT_HEADER.unpack_from(message)
        assert length == len(message)
        return Answer(error, unique, message[OUT_HEADER.size :])

    def ask(self, opcode: int, body: bytes = b"", *, nodeid: int = 1, unique: int = 2) -> Answer:
        """Send a request; return its answer."""
        self.send(request(opcode, body, nodeid=nodeid, unique=unique))
        answer = self.receive()
        assert answer.unique == unique
        return answer

    def is_silent(self) -> bool:
        """Whether nothing came that was not received."""
        return not select.select([self._socket], [], [], 0)[0]

    def lookup(self, name: bytes, parent: int = 1) -> int:
        answer = self.ask(Opcode.LOOKUP, name + b"\0", nodeid=parent)
        assert answer.error == 0
        (nodeid,) = struct.unpack_from("=Q", answer.body)
        return int(nodeid)


@contextmanager
def served(
    filesystem: FileSystem,
    *,
    negotiated: Negotiated | None = NEWEST,
    threads: int = 2,
    debug: bool = False,
) -> Iterator[tuple[Peer, Session]]:
    """Serve a file system to a peer; INIT is left out unless `negotiated` is None."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                ours.setsockopt(socket.SOL_SOCKET, option, 1 << 22)
            options = NativeOptions(threads=threads, debug=debug)
            session = Session(ours.fileno(), filesystem, options, negotiated=negotiated)
            if negotiated is not None:
                session.start()
            yield Peer(theirs), session
        # The other end is closed: what an unmount is to a device.
        assert session.wait(LIMIT_S)
        session.close()
