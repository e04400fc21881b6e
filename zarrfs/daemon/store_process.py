"""The process that keeps a supervisor's descriptors where no service manager does.

Owns copies of what its supervisor keeps, and nothing else: it serves nothing
and uses no time. When the supervisor is killed, mounts and workers live on; the
store waits for the next one, or starts it itself where nobody else would
(`zarrfs mount`). A mount that neither a worker nor a supervisor comes back for
is taken down in the end, rather than left to hang.

One thread. SIGTERM is for a store that waits: it takes everything down.

Source: pidfd_open(2).
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import time
from typing import Final

from zarrfs.daemon.channel import Channel, Claim, Forget, Granted, Keep, Refused
from zarrfs.daemon.kept import ALIVE, Kept, StoredName
from zarrfs.daemon.left_mounts import take_down
from zarrfs.daemon.notify import Notifier
from zarrfs.daemon.predecessor import is_alive
from zarrfs.daemon.restarts import RestartHistory
from zarrfs.daemon.runtime_folders import peer_uid

GRACE_S: Final = 60.0
"""How long a mount that nobody serves waits for a supervisor."""
_LOOK_S: Final = 1.0
_EXIT_LIMIT_S: Final = 5.0
_USEFUL_S: Final = 1.0
"""A supervisor that lived so long was not killed by what it does itself."""
_CLAIM_LIMIT_S: Final = 5.0

_log = logging.getLogger("zarrfs.store")


class StoreProcess:
    """Keeps descriptors for one supervisor, and for its successors."""

    def __init__(
        self,
        listener: socket.socket,
        supervisor: Channel,
        pid: int,
        *,
        revive: list[str] | None = None,
    ) -> None:
        """`revive` is the command that starts a successor, where this is our business."""
        self._listener = listener
        self._supervisor: Channel | None = supervisor
        self._pid = pid
        self._revive = revive
        self._revivals = RestartHistory()
        self._held: dict[str, Kept] = {}
        self._since_s = time.monotonic()
        """When the supervisor came, or was lost."""
        self._told_to_end = False

    def run(self) -> None:
        """Keep what is given until there is nothing to be kept any more."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._end)
        while self._supervisor is not None or self._held:
            self._turn()

    def _end(self, *_: object) -> None:
        self._told_to_end = True

    def _turn(self) -> None:
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        if self._supervisor is not None:
            poll.register(self._supervisor, select.POLLIN)
        ready = [
            descriptor for descriptor, _ in poll.poll(None if self._supervisor else _LOOK_S * 1000)
        ]
        # In this order: who was killed is not taken for alive by its successor.
        if self._supervisor is not None and self._supervisor.fileno() in ready:
            self._hear(self._supervisor)
        elif ready:
            self._admit()
        if self._supervisor is None:
            self._look_after(time.monotonic())

    # -- a supervisor that lives -------------------------------------------

    def _hear(self, supervisor: Channel) -> None:
        received = supervisor.receive()
        if received is None:
            self._supervisor_left(supervisor)
            return
        match received.message:
            case Keep((stored_name,)):
                self._put(stored_name, received.descriptors)
            case Forget(names):
                for stored_name in names:
                    self._drop(stored_name)
            case _:
                _log.error("unexpected %s from supervisor %d", received.message, self._pid)

    def _put(self, stored_name: str, descriptors: list[int]) -> None:
        parsed = StoredName.parse(stored_name)
        if parsed is None or len(descriptors) != 1:
            raise ValueError(stored_name)
        kept = self._held.setdefault(parsed.mount, Kept(parsed.mount, Notifier(None)))
        if (former := kept.descriptors.get(parsed.name)) is not None:
            os.close(former)
        kept.descriptors[parsed.name] = descriptors[0]
        kept.numbers[parsed.name] = parsed.number

    def _drop(self, stored_name: str) -> None:
        parsed = StoredName.parse(stored_name)
        kept = self._held.get(parsed.mount) if parsed else None
        if parsed is None or kept is None or kept.numbers.get(parsed.name) != parsed.number:
            return  # another has taken its place
        kept.drop([parsed.name])
        if not kept.descriptors:
            del self._held[parsed.mount]

    def _supervisor_left(self, supervisor: Channel) -> None:
        supervisor.close()
        self._supervisor = None
        now_s = time.monotonic()
        lived_s, self._since_s = now_s - self._since_s, now_s
        if not _has_exited(self._pid):
            for kept in self._held.values():  # it lives, and has another store by now
                kept.release()
            self._held.clear()
        elif self._held:
            _log.warning("supervisor %d is gone; %d mounts live on", self._pid, len(self._held))
            self._start_successor(now_s, useful=lived_s >= _USEFUL_S)

    # -- nobody there ------------------------------------------------------

    def _start_successor(self, now_s: float, *, useful: bool) -> None:
        if self._revive is None or self._told_to_end:
            return
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, os.WNOHANG)  # it may have been our child
        if self._revivals.died(now_s, useful=useful) is None:
            _log.error("supervisors die again and again; no other is started")
            return
        default = [signal.SIGINT, signal.SIGHUP, signal.SIGTERM]
        try:
            os.posix_spawn(self._revive[0], self._revive, os.environ, setsigdef=default)
        except OSError as error:
            _log.error("no other supervisor can be started: %s", error)

    def _look_after(self, now_s: float) -> None:
        """Give up mounts that nobody serves: at once when they are gone, or after a while."""
        for name, kept in list(self._held.items()):
            if ALIVE in kept.descriptors and is_alive(kept.descriptors[ALIVE]):
                if self._told_to_end:
                    self._give_up(name, kept, "told to end")
            elif kept.fuse is None or kept.is_gone:
                kept.clear()
                del self._held[name]
            elif self._told_to_end or now_s - self._since_s >= GRACE_S:
                self._give_up(name, kept, "nobody came to serve it")

    def _give_up(self, name: str, kept: Kept, reason: str) -> None:
        _log.error("%s is unmounted: %s", name, reason)
        take_down(kept)
        del self._held[name]

    # -- a successor -------------------------------------------------------

    def _admit(self) -> None:
        connection, _ = self._listener.accept()
        channel = Channel(connection)
        try:
            received = channel.receive(_CLAIM_LIMIT_S)
        except TimeoutError:
            received = None
        is_ours = peer_uid(connection) == os.geteuid()
        if received is None or not isinstance(received.message, Claim) or not is_ours:
            channel.close()
        elif self._supervisor is not None:
            channel.send(Refused(self._pid))
            channel.close()
        else:
            self._hand_over(channel, received.message.pid)

    def _hand_over(self, channel: Channel, pid: int) -> None:
        """Give copies of everything; ours stay, for whoever comes after."""
        channel.limit_sending(_CLAIM_LIMIT_S)
        stored = [entry for kept in self._held.values() for entry in kept.stored()]
        channel.send(Granted(len(stored), self._pid))
        for stored_name, descriptor in stored:
            channel.send(Keep((stored_name,)), [descriptor])
        self._supervisor, self._pid, self._since_s = channel, pid, time.monotonic()


def _has_exited(pid: int) -> bool:
    """Whether a process ends now; its sockets are closed a moment before it is gone."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(_EXIT_LIMIT_S * 1000))
    finally:
        os.close(descriptor)
