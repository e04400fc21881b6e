"""Makes sure that the process which served a mount before is wholly gone.

Its supervisor sees to that when it replaces a worker. But the supervisor may
have been killed too, and its successor is no parent of the old workers: one of
them may still be in the middle of a rename, or even be serving. Each worker
therefore locks a memfd that is kept with the mount. The lock goes when the last
thread of its process has ended, and tells whose it is.

Source: pidfd_open(2); F_SETLKW and F_GETLK in fcntl(2); l_pid is 0 in another PID namespace.
"""

from __future__ import annotations

import fcntl
import logging
import os
import select
import signal
import struct
from typing import Final

_FLOCK: Final = struct.Struct("hhqqi4x")
"""struct flock on 64-bit Linux: l_type, l_whence, l_start, l_len, l_pid."""


def end_predecessor(descriptor: int, log: logging.Logger) -> None:
    """Take the lock on a kept memfd, which must stay open; end whoever has it."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    except BlockingIOError:
        pass
    _, pid = _lock_on(descriptor)
    if pid > 0:
        log.warning("worker %d of an earlier run is still there; it is killed", pid)
        _kill_and_wait(pid)
    fcntl.lockf(descriptor, fcntl.LOCK_EX)


def _kill_and_wait(pid: int) -> None:
    """End a process; its other locks, an archive's for instance, go only as it is gone."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.poll()
    except ProcessLookupError:
        pass
    finally:
        os.close(descriptor)


def is_alive(descriptor: int) -> bool:
    """Whether a process that was given a kept memfd by `end_predecessor` lives still."""
    return _lock_on(descriptor)[0] != fcntl.F_UNLCK


def _lock_on(descriptor: int) -> tuple[int, int]:
    """Return the kind of lock that another process has, F_UNLCK for none, and its pid."""
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
    return kind, 0 if kind == fcntl.F_UNLCK else pid
