"""A mount from the first call to the last: mounted, served, unmounted.

Owns the order of things; how to mount is `mounting`'s, how to serve `session`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from zarrfs.frontends.native.options import NativeOptions
from zarrfs.vfs.operations import FileSystem

if TYPE_CHECKING:
    from zarrfs.frontends.native.counters import Counters
    from zarrfs.frontends.native.session import Session
    from zarrfs.fuse_protocol.negotiation import Negotiated


def mount_native(
    filesystem: FileSystem, target: str, options: NativeOptions | None = None
) -> NativeMount:
    """Mount at `target` and return; nothing is answered before `serve` or `start`.

    Raises: DeniedError, NotFoundError, BusyError, UnsupportedError.
    """
    raise NotImplementedError


def adopt_native(
    filesystem: FileSystem,
    target: str,
    fd: int,
    negotiated: Negotiated | None,
    options: NativeOptions | None = None,
    on_negotiated: Callable[[Negotiated], None] | None = None,
) -> NativeMount:
    """Take over the descriptor of a mount that another process made or served.

    `negotiated` is None where nobody answered INIT yet. `on_negotiated` is
    called before INIT is answered, so that whoever keeps the descriptor knows
    the values even when this process dies at that moment.
    """
    raise NotImplementedError


class NativeMount:
    """One mounted file system. All methods may be called from any thread."""

    target: str
    session: Session

    @property
    def fd(self) -> int:
        """The descriptor of `/dev/fuse` to keep for a successor."""
        raise NotImplementedError

    @property
    def negotiated(self) -> Negotiated | None:
        """What INIT settled (picklable); None until then."""
        raise NotImplementedError

    @property
    def counters(self) -> Counters:
        """Operations, bytes and errors so far."""
        raise NotImplementedError

    def start(self) -> None:
        """Serve from threads; returns when INIT has been answered."""
        raise NotImplementedError

    def serve(self) -> None:
        """Serve, and return when the mount is gone."""
        raise NotImplementedError

    def unmount(self, *, lazy: bool = False) -> None:
        """Unmount. Raises: BusyError, DeniedError."""
        raise NotImplementedError

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until all threads have ended; False when time ran out first."""
        raise NotImplementedError
