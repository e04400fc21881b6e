"""What a native mount may be told. Plain values; any thread may read them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NativeOptions:
    """How to mount, and how to serve what was mounted.

    The first group becomes options of mount(2); the second tunes the session.
    """

    fsname: str = "zarrfs"
    """The source that `mount` and `df` show."""
    allow_other: bool = False
    """Let other users in; without it only the mounting user may enter."""
    default_permissions: bool = True
    """The kernel checks modes and owners itself."""
    read_only: bool = False
    noexec: bool = False
    """No program can be run from it."""
    noatime: bool = False
    """Reading leaves access times alone."""
    max_read: int = 1 << 20
    """The largest READ in bytes that the kernel may send."""

    threads: int = 4
    """How many threads read the descriptor."""
    passthrough: bool = True
    """Let the kernel read and write `Opened.backing_fd` by itself, as root."""
    read_ahead_kb: int = 4096
    """Read-ahead of the mount, as root; 0 keeps the kernel's (128)."""
    resend: bool = True
    """Use FUSE_NOTIFY_RESEND where the kernel has it."""
    debug: bool = False
    """Log each request and answer."""
