"""Mounting on behalf of a supervisor, which never answers a request itself."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from zarrfs.daemon.channel import Opened
from zarrfs.daemon.mounting import MountSpec, native_options, resolve
from zarrfs.daemon.mounting_checks import check_target
from zarrfs.daemon.supervised import Spec
from zarrfs.errors import BusyError


class NativeMounter:
    """Mounts by the kernel's protocol: `supervisor.Mounter`."""

    def mount(self, spec: Spec, opened: Opened) -> int:
        from zarrfs.frontends.native.mounting import mount

        assert isinstance(spec, MountSpec)
        checked = resolve(spec, mkdir=spec.mkdir)
        options = native_options(opened.fsname, spec.options, read_only=opened.read_only)
        with _alone_at(checked.target):
            # Somebody may have been faster: mount(2) would put ours on top of theirs.
            check_target(checked.target, nonempty=spec.options.nonempty)
            return mount(checked.target, options)

    def unmount(self, target: str, *, lazy: bool) -> None:
        from zarrfs.frontends.native.mounting import unmount

        unmount(target, lazy=lazy)


@contextmanager
def _alone_at(target: str) -> Iterator[None]:
    """Keep other supervisors, of whatever user, from mounting at a target now.

    Raises: BusyError.
    """
    folder = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(target, "somebody else is mounting here") from None
        except OSError:
            pass  # a file system without locks: mount(2) alone decides
        yield
    finally:
        os.close(folder)
