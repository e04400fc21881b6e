"""The service manager's notification socket and file-descriptor store.

Owns the datagrams of sd_notify(3) and the descriptors that sd_listen_fds(3)
hands over; leaves to `supervisor` when to send what. A `Notifier` without a
socket does nothing, so that callers need not ask whether systemd is there.
Any thread may call; a datagram is sent whole or not at all.

Source: sd_notify(3), sd_pid_notify_with_fds(3), sd_listen_fds(3),
sd_watchdog_enabled(3); FDSTOREMAX in systemd.service(5).
"""

from __future__ import annotations

import array
import contextlib
import os
import select
import socket
import time
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass

_FIRST_LISTEN_FD = 3


@dataclass(frozen=True, slots=True)
class Notifier:
    """Tells the service manager what state the service is in.

    `address` is the value of `NOTIFY_SOCKET`: an absolute path, or `@` and an
    abstract name; None when nobody listens.
    """

    address: str | None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Notifier:
        environment = os.environ if environment is None else environment
        return cls(environment.get("NOTIFY_SOCKET") or None)

    @property
    def active(self) -> bool:
        return self.address is not None

    def ready(self, status: str = "") -> bool:
        return self._send(["READY=1", *_status(status)])

    def reloading(self) -> bool:
        """Say that a reload begins; `ready` ends it.

        Source: Type=notify-reload wants MONOTONIC_USEC beside RELOADING.
        """
        now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        return self._send(["RELOADING=1", f"MONOTONIC_USEC={now_us}"])

    def stopping(self, status: str = "") -> bool:
        return self._send(["STOPPING=1", *_status(status)])

    def status(self, text: str) -> bool:
        return self._send(_status(text))

    def watchdog(self) -> bool:
        return self._send(["WATCHDOG=1"])

    def extend_timeout(self, seconds: float) -> bool:
        return self._send([f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}"])

    def store(self, name: str, descriptor: int) -> bool:
        """Keep a descriptor across a restart of the service, under a name.

        FDPOLL=0: a fuse connection reports EPOLLERR when it is unmounted, and
        the manager would drop it unseen; the next start looks for itself.
        """
        return self._send(["FDSTORE=1", f"FDNAME={name}", "FDPOLL=0"], [descriptor])

    def remove(self, name: str) -> bool:
        return self._send(["FDSTOREREMOVE=1", f"FDNAME={name}"])

    def barrier(self, timeout_s: float = 5.0) -> bool:
        """Wait until the manager has read everything sent before.

        Needed before a process exits whose descriptors were just stored.
        Source: sd_notify_barrier(3).
        """
        reader, writer = os.pipe()
        try:
            if not self._send(["BARRIER=1"], [writer]):
                return False
            os.close(writer)
            writer = -1
            poll = select.poll()
            poll.register(reader, select.POLLHUP)
            return bool(poll.poll(timeout_s * 1000))
        finally:
            os.close(reader)
            if writer >= 0:
                os.close(writer)

    def _send(self, fields: Sequence[str], descriptors: Sequence[int] = ()) -> bool:
        """Send one datagram; False when nobody listens or the manager refused it."""
        if self.address is None or not fields:
            return False
        address = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        ancillary = (
            [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
            if descriptors
            else []
        )
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.sendmsg(["\n".join(fields).encode()], ancillary, 0, address)
        except OSError:
            return False
        return True


def _status(text: str) -> list[str]:
    return [f"STATUS={' '.join(text.split())}"] if text else []


def watchdog_interval_s(environment: Mapping[str, str] | None = None) -> float | None:
    """Return how often to send WATCHDOG=1, half of what the manager allows, or None.

    Source: sd_watchdog_enabled(3).
    """
    env = os.environ if environment is None else environment
    if env.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    allowed_us = env.get("WATCHDOG_USEC", "")
    return int(allowed_us) / 2e6 if allowed_us.isdecimal() and int(allowed_us) > 0 else None


def take_stored_descriptors(
    environment: MutableMapping[str, str] | None = None, *, first: int = _FIRST_LISTEN_FD
) -> list[tuple[str, int]]:
    """Return the (name, descriptor) pairs the manager handed over, close-on-exec.

    The variables are removed so that children do not take them for theirs.
    Source: sd_listen_fds_with_names(3).
    """
    env = os.environ if environment is None else environment
    count = env.pop("LISTEN_FDS", "0")
    names = env.pop("LISTEN_FDNAMES", "").split(":")
    if env.pop("LISTEN_PID", str(os.getpid())) != str(os.getpid()) or not count.isdecimal():
        return []
    descriptors = range(first, first + int(count))
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            os.set_inheritable(descriptor, False)
    padded = [*names, *[""] * int(count)]
    return list(zip(padded, descriptors, strict=False))
