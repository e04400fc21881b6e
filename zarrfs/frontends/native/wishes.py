"""Which INIT flags a session asks for, and why.

Not asked for, on purpose: POSIX_LOCKS and FLOCK_LOCKS (the kernel's own locks
are right for all clients, and survive a killed daemon), DONT_MASK (the kernel
applies the umask), POSIX_ACL, SETXATTR_EXT and SECURITY_CTX (no backend keeps
them), CREATE_SUPP_GROUP (a set-group-ID folder passes its group on in `vfs`),
EXPORT_SUPPORT (lookups of `.` and `..`), the SPLICE flags (replies come from
memory), REQUEST_TIMEOUT (a slow backend is not a dead one).
"""

from __future__ import annotations

from zarrfs.frontends.native.options import NativeOptions
from zarrfs.frontends.native.privileges import may_administer
from zarrfs.fuse_protocol.flags import InitFlags
from zarrfs.fuse_protocol.negotiation import Wishes
from zarrfs.vfs.operations import CachePolicy

_ALWAYS = (
    InitFlags.ASYNC_READ
    | InitFlags.ASYNC_DIO
    | InitFlags.BIG_WRITES
    | InitFlags.PARALLEL_DIROPS
    | InitFlags.MAX_PAGES
    | InitFlags.DO_READDIRPLUS
    | InitFlags.CACHE_SYMLINKS
    | InitFlags.ABORT_ERROR
    | InitFlags.HAS_EXPIRE_ONLY
    | InitFlags.DIRECT_IO_ALLOW_MMAP
)
_WRITABLE = InitFlags.ATOMIC_O_TRUNC | InitFlags.HANDLE_KILLPRIV_V2
_STATELESS = InitFlags.NO_OPEN_SUPPORT | InitFlags.NO_OPENDIR_SUPPORT


def wishes_for(policy: CachePolicy, options: NativeOptions, *, read_only: bool) -> Wishes:
    """Return what to ask of the kernel for a file system of this policy."""
    flags = _ALWAYS
    if options.resend:
        flags |= InitFlags.HAS_RESEND
    if not read_only:
        flags |= _WRITABLE
    if policy.stateless_open:
        flags |= _STATELESS
    if not policy.cache_dir:
        # Nobody tells of changes: pages go when a GETATTR brings another mtime.
        # Where they are told of, this would only drop what we wrote ourselves.
        flags |= InitFlags.AUTO_INVAL_DATA
    if policy.writeback:
        flags |= InitFlags.WRITEBACK_CACHE
    elif options.passthrough and not policy.stateless_open and may_administer():
        flags |= InitFlags.PASSTHROUGH
    return Wishes(flags=flags)
