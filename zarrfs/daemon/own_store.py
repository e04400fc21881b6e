"""A descriptor store of our own, for a supervisor without a service manager's.

Owns the supervisor's end: it finds the store that an earlier supervisor left
and takes over what is in it, or starts a new one; when the store is killed, it
starts another and fills it again. So of supervisor, store and workers any one
may be killed, and the mounts go on. Where a store cannot be (no runtime
folder), everything works but for that.

Used by the supervisor's thread alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

from zarrfs.daemon.channel import Channel, Claim, Forget, Granted, Keep, Refused
from zarrfs.daemon.kept import Kept, sort_by_mount
from zarrfs.daemon.process_name import STORE, name_process
from zarrfs.daemon.restarts import RestartHistory
from zarrfs.daemon.runtime_folders import remove_socket_of, runtime_folder, sockets_of_mode
from zarrfs.errors import ZarrfsError

_ANSWER_LIMIT_S: Final = 10.0
_SEND_LIMIT_S: Final = 5.0
"""A store that does not read for so long is replaced."""
_USEFUL_S: Final = 1.0
_LONGEST_PATH: Final = 90
"""Bytes: 107 fit into an address (unix(7)), and a process id may be added."""

_log = logging.getLogger("zarrfs.store")


class Loop(Protocol):
    """What is needed of the supervisor's loop."""

    def listen(self, fileobj: Channel, ready: Callable[[], None]) -> None: ...
    def unlisten(self, fileobj: Channel) -> None: ...


class OwnStore:
    """Keeps copies of descriptors in a process of its own: `kept.DescriptorStore`."""

    def __init__(self, identity: str, *, revive: list[str] | None = None) -> None:
        """`identity` tells whose store it is: a successor has the same.

        `revive` is the command that the store starts when the supervisor is
        killed; without it the store waits until somebody does.
        """
        self._identity = identity
        self._revive = revive
        self._channel: Channel | None = None
        self._losses = RestartHistory()
        self._since_s = time.monotonic()
        self._loop: Loop | None = None
        self._all_kept: Callable[[], list[Kept]] = list
        # A copy of our end in a worker would let the store think that we live.
        os.register_at_fork(after_in_child=self._close)

    def claim(self) -> dict[str, Kept]:
        """Return what an earlier supervisor left, by mount; a store is there from now on."""
        try:
            with self._alone():
                channel = self._connect()
                if channel is not None:
                    return self._take_over(channel)
                self._begin()
        except (ZarrfsError, OSError) as error:
            _log.warning("mounts will not outlive this supervisor if it is killed: %s", error)
        return {}

    def is_there(self) -> bool:
        """Whether a store of this identity answers, whoever it belongs to now."""
        try:
            channel = self._connect()
        except (ZarrfsError, OSError):
            return False
        if channel is not None:
            channel.close()
        return channel is not None

    def watch(self, loop: Loop, all_kept: Callable[[], list[Kept]]) -> None:
        """Start another store when this one is killed, and put `all_kept` into it."""
        self._loop, self._all_kept = loop, all_kept
        if self._channel is not None:
            loop.listen(self._channel, self._lost)

    def store(self, name: str, descriptor: int) -> bool:
        return self._send(Keep((name,)), [descriptor])

    def remove(self, name: str) -> bool:
        return self._send(Forget((name,)))

    def _send(self, message: Keep | Forget, descriptors: Sequence[int] = ()) -> bool:
        if self._channel is None:
            return False
        if not self._channel.send(message, descriptors):
            self._replace()
        return self._channel is not None

    # -- finding or starting it --------------------------------------------

    @property
    def _path(self) -> str:
        escaped = self._identity.replace("%", "%25").replace("/", "%2F")
        path = os.path.join(runtime_folder(), f"{escaped}.store")
        if len(os.fsencode(path)) <= _LONGEST_PATH:
            return path
        import hashlib  # takes as long as half of this package

        digest = hashlib.sha256(os.fsencode(self._identity)).hexdigest()
        return os.path.join(runtime_folder(), f"{digest[:16]}.store")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other supervisors from doing this now."""
        descriptor = os.open(runtime_folder(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _connect(self) -> Channel | None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            connection.connect(self._path)
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            return None
        except BaseException:
            connection.close()
            raise
        return Channel(connection)

    def _take_over(self, channel: Channel) -> dict[str, Kept]:
        """Take what the store holds. Raises: TimeoutError, OSError."""
        channel.send(Claim(os.getpid()))
        received = channel.receive(_ANSWER_LIMIT_S)
        match None if received is None else received.message:
            case Granted(number, predecessor):
                stored = [self._next_stored(channel) for _ in range(number)]
                remove_socket_of(predecessor)
                self._use(channel)
                return sort_by_mount(stored, self)
            case Refused(pid):
                channel.close()
                _log.warning("supervisor %d serves the same, and is alive", pid)
            case None:  # it had nothing to keep any more, and ended
                channel.close()
                self._begin()
            case other:
                raise ConnectionError(f"unexpected {other}")
        return {}

    @staticmethod
    def _next_stored(channel: Channel) -> tuple[str, int]:
        received = channel.receive(_ANSWER_LIMIT_S)
        if received is None or not isinstance(received.message, Keep):
            raise ConnectionError("the store ended while it handed over")
        return received.message.names[0], received.descriptors[0]

    def _use(self, channel: Channel) -> None:
        channel.limit_sending(_SEND_LIMIT_S)
        self._channel, self._since_s = channel, time.monotonic()

    def _begin(self) -> None:
        """Start a store. It is nobody's child, so that nobody need wait for it."""
        listener, path = _listen(self._path), self._path
        inode = os.stat(path).st_ino
        ours, theirs = Channel.pair()
        supervisor = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._become_store(listener, theirs, supervisor)
            _remove(path, inode)
            os._exit(0)
        listener.close()
        theirs.close()
        os.waitpid(pid, 0)
        self._use(ours)

    def _become_store(self, listener: socket.socket, channel: Channel, supervisor: int) -> None:
        """In a child: be the store until it has nothing to keep."""
        try:
            signal.set_wakeup_fd(-1)
            if os.fork() != 0:
                os._exit(0)
            from zarrfs.daemon.store_process import StoreProcess

            _close_all_but({0, 1, 2, listener.fileno(), channel.fileno()})
            os.setsid()
            name_process(STORE)
            StoreProcess(listener, channel, supervisor, revive=self._revive).run()
        except BaseException:
            _log.exception("the store of descriptors failed")

    # -- losing it ---------------------------------------------------------

    def _lost(self) -> None:
        """The store said something, which it never does, or was killed."""
        if self._channel is not None and self._channel.receive() is None:
            self._replace()

    def _replace(self) -> None:
        now_s = time.monotonic()
        useful = now_s - self._since_s >= _USEFUL_S
        if self._loop is not None and self._channel is not None:
            self._loop.unlisten(self._channel)
        self._close()
        if self._losses.died(now_s, useful=useful) is None:
            _log.error("stores of descriptors die again and again; there is none from now on")
            return
        _log.warning("the store of descriptors was lost; another takes its place")
        try:
            self._begin()
        except (ZarrfsError, OSError) as error:
            _log.error("mounts will not outlive this supervisor if it is killed: %s", error)
            return
        if self._loop is not None and self._channel is not None:
            self._loop.listen(self._channel, self._lost)
        for kept in self._all_kept():
            kept.store_again()

    def _close(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None


def _listen(path: str) -> socket.socket:
    """Listen at a path, in place of whoever did before."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    temporary = f"{path}.{os.getpid()}"
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        with sockets_of_mode(0o600):
            listener.bind(temporary)
        listener.listen(4)
        os.rename(temporary, path)
    except BaseException:
        listener.close()
        raise
    return listener


def _remove(path: str, inode: int) -> None:
    """Remove a socket that nobody listens at any more, unless another has its path by now."""
    with contextlib.suppress(OSError):
        if os.stat(path).st_ino == inode:
            os.unlink(path)


def _close_all_but(wanted: set[int]) -> None:
    """Close every descriptor that a child need not have: copies of connections above all."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in wanted:
            with contextlib.suppress(OSError):
                os.close(int(name))
