"""Tells the kernel of changes that it did not make itself.

A notification can wait for a lock that the kernel holds until one of our
answers arrives (an inode being looked up, a page being read). So whoever
reports a change only puts it in a queue, and a thread of its own, which never
answers requests, writes the notifications.

Any thread may call a `Notifier`. Source: FUSE_NOTIFY_* in fs/fuse/dev.c.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
from queue import Empty, SimpleQueue

from zarrfs.fuse_protocol import notifications
from zarrfs.fuse_protocol.flags import EXPIRE_ONLY
from zarrfs.storage.tree import Change

logger = logging.getLogger(__name__)

_UNKNOWN_TO_KERNEL = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EINVAL, errno.ESTALE})
_GONE = frozenset({errno.ENODEV, errno.ENOTCONN, errno.EPERM, errno.EBADF, errno.ECONNABORTED})


class Notifier:
    """A queue of changes and the thread that passes them on."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._changes: SimpleQueue[Change | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._expire_flag = 0

    def __call__(self, change: Change, /) -> None:
        """Report a change; returns at once."""
        self._changes.put(change)

    def start(self, *, can_expire: bool) -> None:
        """Begin to pass changes on. `can_expire`: FUSE_HAS_EXPIRE_ONLY was negotiated.

        Expired names are looked up again but stay attached, so that a process
        whose working folder was replaced does not lose it.
        """
        self._expire_flag = EXPIRE_ONLY if can_expire else 0
        self._thread = threading.Thread(target=self._run, name="zarrfs-notify", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, after what is queued by now."""
        self._changes.put(None)
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            batch, last = self._next_batch()
            for message in batch:
                if not self._write(message):
                    return
            if last:
                return

    def _next_batch(self) -> tuple[list[bytes], bool]:
        """Wait for a change and take all that are there, each message once."""
        messages: dict[bytes, None] = {}
        change = self._changes.get()
        while True:
            if change is None:
                return list(messages), True
            messages.update(dict.fromkeys(self._messages(change)))
            try:
                change = self._changes.get_nowait()
            except Empty:
                return list(messages), False

    def _messages(self, change: Change) -> list[bytes]:
        messages = []
        if change.nodeid is not None:
            messages.append(notifications.inval_inode(change.nodeid))
        if change.parent is not None:
            if change.name:
                messages.append(
                    notifications.inval_entry(change.parent, change.name, self._expire_flag)
                )
            # A name that the kernel never looked up would leave its cached
            # listing of the folder as it is; this drops that and the mtime.
            messages.append(notifications.inval_inode(change.parent))
        return messages

    def _write(self, message: bytes) -> bool:
        """Return False when there is no kernel left to tell."""
        try:
            os.write(self._fd, message)
        except OSError as error:
            if error.errno in _GONE:
                return False
            if error.errno not in _UNKNOWN_TO_KERNEL:
                logger.warning("notification refused: %s", error)
        return True
