"""What the processes of a mount say to each other, and the socket they say it over.

They are a supervisor, its workers, and where no service manager keeps
descriptors, the supervisor's own store.

Each message is one datagram of a SOCK_SEQPACKET pair: JSON, with descriptors
beside it (SCM_RIGHTS). Both ends are used from one thread, except that any
thread of a worker may `send`.

Between a supervisor and a worker there are two: one for what is said, and one
over which the worker gives into keeping and waits for `Stored` each time.

Source: unix(7), cmsg(3).
"""

from __future__ import annotations

import array
import json
import os
import select
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

_MAX_MESSAGE_BYTES: Final = 1 << 16
_MAX_DESCRIPTORS: Final = 64


class Opened(NamedTuple):
    """Worker: the source is open and right; mount it and send `Serve`."""

    fsname: str
    read_only: bool


class Keep(NamedTuple):
    """Worker or supervisor: keep these descriptors for my successor, under these names."""

    names: tuple[str, ...]


class Forget(NamedTuple):
    """Worker or supervisor: my successor needs these no longer."""

    names: tuple[str, ...]


class Negotiated(NamedTuple):
    """Worker: INIT is about to be answered with these values."""

    values: dict[str, Any]


class Serving(NamedTuple):
    """Worker: the mount answers."""


class Beat(NamedTuple):
    """Worker: I am well, and this is what I did so far."""

    statistics: dict[str, Any]


class Failed(NamedTuple):
    """Worker: I cannot go on, and a successor could not either; why, as `error_json`."""

    error: dict[str, Any]


class Renew(NamedTuple):
    """Worker: I end, so that a successor shows what has changed."""


class Finished(NamedTuple):
    """Worker: all is written out and let go. `unmounted` says whether the mount is gone."""

    unmounted: bool


class Serve(NamedTuple):
    """Supervisor: serve the descriptor beside this message.

    `negotiated` is None where nobody answered INIT yet.
    """

    negotiated: dict[str, Any] | None


class Stop(NamedTuple):
    """Supervisor: write everything out, then end; the mount is taken down by me."""


class Rest(NamedTuple):
    """Supervisor: nobody uses the mount; write everything out and end, if that succeeds."""


class Save(NamedTuple):
    """Supervisor: make everything durable now (commit, snapshot)."""


class Report(NamedTuple):
    """Supervisor: send a `Beat` now."""


class Dump(NamedTuple):
    """Supervisor: log statistics and stacks."""


class Relog(NamedTuple):
    """Supervisor: log like this from now on; `LogSettings` as a dictionary."""

    mount: str
    settings: dict[str, Any]


class Stored(NamedTuple):
    """Supervisor: what you gave into keeping, or told me to forget, is settled."""


class Claim(NamedTuple):
    """Supervisor: I want what an earlier one left in the store."""

    pid: int


class Granted(NamedTuple):
    """Store: so many `Keep` follow, a descriptor beside each; another supervisor left them."""

    stored: int
    predecessor: int


class Refused(NamedTuple):
    """Store: the supervisor with this pid is alive."""

    pid: int


Message: TypeAlias = (
    Opened | Keep | Forget | Negotiated | Serving | Beat | Failed | Renew | Finished
    | Serve | Stop | Rest | Save | Report | Dump | Relog | Stored | Claim | Granted | Refused
)  # fmt: skip
_KINDS: Final[dict[str, Callable[..., Message]]] = {
    kind.__name__: kind
    for kind in (
        *(Opened, Keep, Forget, Negotiated, Serving, Beat, Failed, Renew, Finished),
        *(Serve, Stop, Rest, Save, Report, Dump, Relog),
        *(Stored, Claim, Granted, Refused),
    )
}


class Received(NamedTuple):
    message: Message
    descriptors: list[int]


class Channel:
    """One end. `receive` waits; `fileno` is for a selector."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._send_flags = socket.MSG_NOSIGNAL

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(ours), cls(theirs)

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> bool:
        """Send; False when the other end is gone or does not read any more."""
        data = json.dumps({"kind": type(message).__name__, **message._asdict()}).encode()
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        try:
            self._socket.sendmsg([data], rights if descriptors else [], self._send_flags)
        except OSError:
            return False
        return True

    def receive(self, timeout_s: float | None = None) -> Received | None:
        """Return the next message, or None when the other end is gone.

        Raises: TimeoutError.
        """
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        if not poll.poll(None if timeout_s is None else timeout_s * 1000):
            raise TimeoutError
        descriptors = array.array("i")
        try:
            data, ancillary, _, _ = self._socket.recvmsg(
                _MAX_MESSAGE_BYTES, socket.CMSG_SPACE(_MAX_DESCRIPTORS * descriptors.itemsize)
            )
        except ConnectionError:
            return None
        for _, kind, payload in ancillary:
            if kind == socket.SCM_RIGHTS:
                descriptors.frombytes(payload[: len(payload) // 4 * 4])
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        return Received(_decode(data), list(descriptors)) if data else None

    @property
    def has_more(self) -> bool:
        """Whether `receive` would return at once."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))

    def never_wait(self) -> None:
        """Let `send` give up at once when the other end has much to read still."""
        self._send_flags |= socket.MSG_DONTWAIT

    def limit_sending(self, seconds: float) -> None:
        """Let `send` give up when the other end does not read for so long."""
        whole_s = int(seconds)
        limit = struct.pack("ll", whole_s, int((seconds - whole_s) * 1e6))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)

    def close(self) -> None:
        self._socket.close()


def _decode(data: bytes) -> Message:
    values = json.loads(data)
    kind = _KINDS[values.pop("kind")]
    return kind(
        **{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    )
