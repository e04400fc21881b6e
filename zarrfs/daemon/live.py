"""A mount of a `Storage` that the calling program holds, served by its own threads.

    with zarrfs.mount(storage, "/mnt/live"):
        storage.write_chunk((0, 0), data)      # seen in /mnt/live at once

The program and every reader of the mount see one truth. System calls on the
mount work from the serving program too, since they release the GIL while the
serving threads answer. Two things do not: a page fault in an `mmap` of a file
of the mount, and C code that touches the mount while it holds the GIL. The
thread then waits for an answer that no Python thread can give, for ever. Let
another process do those, or use `zarrfs mount`.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from zarrfs.daemon.mounting import Mount, mount_filesystem, tree_and_options, viewed
from zarrfs.daemon.mounting_checks import check_apart, check_target
from zarrfs.daemon.options import MountOptions, parse_options
from zarrfs.errors import BusyError, UnavailableError, ZarrfsError
from zarrfs.vfs.filesystem import Vfs

if TYPE_CHECKING:
    from zarrfs.storage.storage import Storage

_log = logging.getLogger("zarrfs.live")
_UNMOUNT_LIMIT_S = 60.0
_mounts: set[LiveMount] = set()
"""Those not yet seen to have ended; a mount lives on when its object is dropped."""


class LiveMount:
    """A mounted `Storage`. All methods may be called from any thread."""

    def __init__(self, mount: Mount) -> None:
        self._mount = mount
        _mounts.add(self)

    @property
    def target(self) -> str:
        """The mounted folder's absolute path."""
        return self._mount.target

    def unmount(self, *, lazy: bool = False) -> None:
        """Unmount, and return when all that was written is in the storage.

        With `lazy`, files that are open stay usable until they are closed, and
        this returns at once. The storage stays open. A second call does nothing.

        Raises: BusyError while files are open.
        """
        if self.wait(0):
            return
        self._mount.unmount(lazy=lazy)
        if not lazy and not self.wait(_UNMOUNT_LIMIT_S):
            raise UnavailableError(self.target, "unmounted, but its threads do not end")

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until somebody has unmounted it; False when time ran out first."""
        ended = self._mount.wait(timeout_s)
        if ended:
            _mounts.discard(self)
        return ended

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.unmount()
        except BusyError as busy:
            _log.warning("%s; it is detached", busy)
            self.unmount(lazy=True)

    def __fspath__(self) -> str:
        return self.target

    def __repr__(self) -> str:
        return f"<LiveMount {self.target!r}>"


def mount(
    storage: Storage,
    target: str | os.PathLike[str],
    options: str = "",
    *,
    read_only: bool | None = None,
    root: str = "",
    frontend: str | None = None,
    threads: int | None = None,
    allow_other: bool = False,
    nonempty: bool = False,
    mkdir: bool = False,
) -> LiveMount:
    """Mount a storage at a folder; it is unmounted at the end of `with`, or of the program.

    `options` is what `zarrfs mount -o` takes; the keywords are its most used
    options by name. The storage stays the caller's to close, after the mount.

    Raises: PathNotFoundError, NotAFolderError, NotEmptyError and BusyError for
    the target; DeniedError, UnsupportedError where this machine cannot mount.
    """
    chosen = parse_options([options])
    given: dict[str, Any] = {
        "read_only": read_only,
        "root": root or None,
        "frontend": frontend,
        "threads": threads,
        "allow_other": allow_other or None,
        "nonempty": nonempty or None,
    }
    chosen = replace(chosen, **{key: value for key, value in given.items() if value is not None})
    folder = check_target(os.fspath(target), nonempty=chosen.nonempty, mkdir=mkdir)
    if os.path.exists(storage.location):
        check_apart(os.path.realpath(storage.location), folder)
    mount = mount_filesystem(_LiveVfs(storage, chosen), folder, storage.location, chosen)
    mount.start()
    return LiveMount(mount)


class _LiveVfs(Vfs):
    """Ends without its tree: that belongs to the caller's storage."""

    def __init__(self, storage: Storage, options: MountOptions) -> None:
        shown = viewed(storage, options)
        super().__init__(*tree_and_options(shown, options), shown)
        self._live_storage = storage
        self._views = shown.backend if shown is not storage else None

    def destroy(self) -> None:
        self.close_files()
        if self._views is not None:
            from zarrfs.views.closing import ClosesCache

            assert isinstance(self._views, ClosesCache)
            self._views.cache.close()
        if self._live_storage.closed:
            return
        try:
            self._live_storage.flush()
        except ZarrfsError:
            _log.exception("what was written through the mount may not be durable")


@atexit.register
def _unmount_all() -> None:
    """A mount that is left when its program ends would answer nobody."""
    for live in list(_mounts):
        with contextlib.suppress(ZarrfsError):
            if not live.wait(0):
                live.unmount(lazy=True)
