"""What all callbacks of libfuse share: callers, paths, open files, errors.

Paths and names arrive as text decoded from Latin-1, which maps every byte to
one character and back, so that names which are not UTF-8 survive. libfuse calls
from several threads at once.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol, TypeVar, cast

from zarrfs.errors import StaleError
from zarrfs.frontends.fusepy_departures import Departures
from zarrfs.frontends.fusepy_paths import Paths, Pinned
from zarrfs.storage.tree import NodeId
from zarrfs.vfs.errnos import errno_of
from zarrfs.vfs.operations import Caller, FileHandle, FileSystem, Opened

ENCODING = "latin-1"
Callback = TypeVar("Callback", bound=Callable[..., Any])


class FileInfo(Protocol):
    """The fields of `struct fuse_file_info` that are used."""

    flags: int
    fh: int
    direct_io: int
    keep_cache: int


class Open(NamedTuple):
    """An open file or folder, and its node, pinned until it is released."""

    node: Pinned
    handle: FileHandle


def os_error(exc: Exception, operation: str) -> OSError:
    number = errno_of(exc, operation)
    return OSError(number, os.strerror(number))


def answered(method: Callback) -> Callback:
    """Turn every error of a callback into an `OSError` that carries the answer."""

    @functools.wraps(method)
    def answer(*args: Any) -> Any:
        try:
            return method(*args)
        except Exception as exc:
            raise os_error(exc, method.__name__) from exc

    return cast(Callback, answer)


class Callbacks:
    """One mounted file system, as the callbacks see it."""

    def __init__(
        self,
        filesystem: FileSystem,
        context: Callable[[], tuple[int, int, int]],
        *,
        path_capacity: int = 4096,
    ) -> None:
        self._fs = filesystem
        self._context = context
        # Asked before `watch`: libfuse cannot pass changes on to the kernel, so
        # only times for content whose changes nobody tells of are right.
        self.policy = filesystem.policy
        self._paths = Paths(
            filesystem, capacity=path_capacity, timeout_s=self.policy.entry_timeout_s
        )
        self._departures = Departures()
        self._lock = threading.Lock()
        self._open: dict[int, Open] = {}
        """Guarded by: `_lock`."""
        self._next_fh = 1
        """Guarded by: `_lock`."""
        self.initialised = threading.Event()
        filesystem.watch(self._paths.on_change)

    def _caller(self) -> Caller:
        return Caller(*self._context())

    def _pin(self, caller: Caller, path: str | bytes | None) -> Pinned:
        if path is None:
            raise StaleError("", "unlinked")
        path = as_bytes(path)
        if (hidden := self._departures.hidden(path)) is not None:
            return self._paths.pin_again(hidden)
        self._departures.settle()
        return self._paths.pin(caller, path)

    @contextmanager
    def _node(self, caller: Caller, path: str | bytes | None) -> Iterator[NodeId]:
        pinned = self._pin(caller, path)
        try:
            yield pinned.nodeid
        finally:
            self._paths.unpin(pinned)

    @contextmanager
    def _node_or_handle(
        self, caller: Caller, path: str | None, fi: FileInfo | None
    ) -> Iterator[tuple[NodeId, FileHandle | None]]:
        if fi is not None and (opened := self._open.get(fi.fh)):
            yield opened.node.nodeid, opened.handle
            return
        with self._node(caller, path) as nodeid:
            yield nodeid, None

    def _opened(self, fh: int) -> Open:
        try:
            return self._open[fh]
        except KeyError:
            raise StaleError(f"handle {fh}", "is not open") from None

    def _is_open(self, nodeid: NodeId) -> bool:
        with self._lock:
            return any(opened.node.nodeid == nodeid for opened in self._open.values())

    def _keep(self, node: Pinned, opened: Opened) -> int:
        with self._lock:
            fh = self._next_fh
            self._next_fh += 1
            self._open[fh] = Open(node, opened.handle)
        return fh

    def _let_go(self, fh: int) -> Open | None:
        with self._lock:
            return self._open.pop(fh, None)

    def _release(self, fh: int, give_back: Callable[[NodeId, FileHandle], None]) -> int:
        opened = self._let_go(fh)
        if opened is not None:
            try:
                give_back(opened.node.nodeid, opened.handle)
            finally:
                self._paths.unpin(opened.node)
        return 0


def as_bytes(path: str | bytes) -> bytes:
    return path if isinstance(path, bytes) else path.encode(ENCODING)
