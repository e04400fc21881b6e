"""A mount from the first call to the last: mounted, served, unmounted.

Owns the order of things and the descriptor. How to mount is `mounting`'s, how
to serve `session`'s.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress

from zarrfs.errors import BusyError
from zarrfs.frontends.native import kernel_side, mounting
from zarrfs.frontends.native.counters import Counters
from zarrfs.frontends.native.options import NativeOptions
from zarrfs.frontends.native.session import Session
from zarrfs.fuse_protocol import notifications
from zarrfs.fuse_protocol.negotiation import Negotiated
from zarrfs.storage.tree import NodeId
from zarrfs.vfs.operations import FileSystem

logger = logging.getLogger(__name__)


def mount_native(
    filesystem: FileSystem,
    target: str,
    options: NativeOptions | None = None,
    *,
    on_negotiated: Callable[[Negotiated], None] | None = None,
    ledger_fd: int | None = None,
) -> NativeMount:
    """Mount at `target` and return; nothing is answered before `serve` or `start`.

    Raises: PathNotFoundError, NotAFolderError, DeniedError, UnsupportedError,
    UnavailableError.
    """
    options = options or NativeOptions()
    target = os.path.realpath(target)
    fd = mounting.mount(target, options)
    session = Session(fd, filesystem, options, on_negotiated=on_negotiated, ledger_fd=ledger_fd)
    return NativeMount(filesystem, target, options, session)


def adopt_native(
    filesystem: FileSystem,
    target: str,
    fd: int,
    negotiated: Negotiated | None,
    options: NativeOptions | None = None,
    *,
    on_negotiated: Callable[[Negotiated], None] | None = None,
    ledger_fd: int | None = None,
    requests_fd: int | None = None,
) -> NativeMount:
    """Take over the descriptor of a mount that another process made or served.

    `negotiated` is None where nobody answered INIT yet. `on_negotiated` is
    called before INIT is answered, so that whoever keeps the descriptor knows
    the values even when this process dies at that moment. `ledger_fd` is a
    memfd in which backing ids of passthrough survive this process, `requests_fd`
    one in which requests are noted that must not be done twice; keep both with
    the descriptor. The mount closes `fd` at its end, not the memfds.
    """
    options = options or NativeOptions()
    session = Session.resume(
        fd,
        negotiated,
        filesystem,
        options,
        on_negotiated=on_negotiated,
        ledger_fd=ledger_fd,
        requests_fd=requests_fd,
    )
    return NativeMount(filesystem, target, options, session)


class NativeMount:
    """One mounted file system. All methods may be called from any thread."""

    def __init__(
        self, filesystem: FileSystem, target: str, options: NativeOptions, session: Session
    ) -> None:
        self.target = target
        self.session = session
        self._filesystem = filesystem
        self._options = options
        self._ended = threading.Event()
        self._finishing = threading.Lock()

    @property
    def fd(self) -> int:
        """The descriptor of `/dev/fuse` to keep for a successor."""
        return self.session.fd

    @property
    def negotiated(self) -> Negotiated | None:
        """What INIT settled (picklable); None until then."""
        return self.session.negotiated

    @property
    def counters(self) -> Counters:
        """Operations, bytes and errors so far."""
        return self.session.counters

    def knows(self, nodeid: NodeId) -> bool:
        """Whether the kernel has an inode for a node; it then forgets its attributes."""
        try:
            os.write(self.fd, notifications.inval_inode(nodeid, -1))
        except OSError as error:
            return error.errno != errno.ENOENT
        return True

    def drop_name(self, parent: NodeId, name: bytes) -> None:
        """Have the kernel let go of what it remembers under a name."""
        with suppress(OSError):  # nothing
            os.write(self.fd, notifications.inval_entry(parent, name))

    def start(self) -> None:
        """Serve from threads; returns when INIT has been answered."""
        self.session.start()
        self._raise_read_ahead()

    def serve(self) -> None:
        """Serve, and return when the mount is gone."""
        self.start()
        self.wait()

    def unmount(self, *, lazy: bool = False) -> None:
        """Unmount, and wait until everything is written out.

        With `lazy` the tree is free at once and nobody waits: what is still
        open is served until it is closed.

        Raises: BusyError, DeniedError, PathNotFoundError (not mounted).
        """
        mounting.unmount(self.target, lazy=lazy)
        if not lazy:
            self.wait()

    def abort(self) -> None:
        """End the connection whoever uses it: they get errors, the tree is free."""
        device = kernel_side.device_of(self.target)
        if device is not None and not kernel_side.abort_connection(device, self.target):
            mounting.force_unmount(self.target)
        try:
            mounting.unmount(self.target, lazy=True)
        except BusyError:
            logger.warning("%s: aborted, but still mounted", self.target)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the mount is gone and everything is written out.

        Returns False when time ran out first.
        """
        if not self.session.wait(timeout_s):
            return False
        with self._finishing:
            if not self._ended.is_set():
                self._finish()
                self._ended.set()
        return True

    def _finish(self) -> None:
        self.session.close()
        try:
            self._filesystem.destroy()
        finally:
            os.close(self.session.fd)

    def _raise_read_ahead(self) -> None:
        if not self._options.read_ahead_kb:
            return
        device = kernel_side.device_of(self.target)
        if device is None or not kernel_side.raise_read_ahead(device, self._options.read_ahead_kb):
            logger.info("%s: read-ahead stays as it is", self.target)
