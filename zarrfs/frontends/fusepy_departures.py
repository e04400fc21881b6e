"""Open files that lose their name, as libfuse's high-level interface goes about it.

libfuse knows files by path. When a file is removed or replaced while it is
open, libfuse first renames it to `.fuse_hidden...`, so that it has a path until
it is closed. Taken at its word, that would show the hidden name to everybody,
and a file that is replaced would be absent for a moment, which a Zarr reader
takes for the fill value. So no such rename reaches the file system:

* the hidden name stands for the node here, and nowhere else;
* the file's own name stays until it is clear what libfuse is about: the next
  call of the same thread is either the rename that replaces the file, done at
  once as one step, or anything else, and then the file is unlinked.

Other threads that ask for names wait for that, for `_PATIENCE_S` at most.
Any thread may call. Source: hide_node and fuse_lib_rename in libfuse's fuse.c.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from zarrfs.errors import ZarrfsError
from zarrfs.frontends.fusepy_paths import Pinned, split

_HIDDEN = re.compile(rb"\.fuse_hidden[0-9a-f]{16,}")
_PATIENCE_S = 0.05
logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Leaving:
    """A file whose name goes: by `unlink`, unless it is replaced first."""

    unlink: Callable[[], None]
    thread: int
    until_s: float


class Departures:
    """Guarded by `_changed`'s lock, which is held while a name is unlinked."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._leaving: dict[bytes, _Leaving] = {}
        self._hidden: dict[bytes, Pinned] = {}

    @staticmethod
    def is_hiding(old: bytes, new: bytes) -> bool:
        """Whether a rename looks like libfuse's own."""
        old_folder, new_folder, name = split(old)[0], *split(new)
        return old_folder == new_folder and _HIDDEN.fullmatch(name) is not None

    def hidden(self, path: bytes) -> Pinned | None:
        """Return the node that a hidden name stands for."""
        return self._hidden.get(split(path)[1]) if self._hidden else None

    def hide(self, old: bytes, new: bytes, node: Pinned, unlink: Callable[[], None]) -> None:
        """Let `new` stand for a node, pinned by the caller, and `old` go soon."""
        until_s = time.monotonic() + _PATIENCE_S
        with self._changed:
            self._hidden[split(new)[1]] = node
            self._leaving[old] = _Leaving(unlink, threading.get_ident(), until_s)
        timer = threading.Timer(_PATIENCE_S, self.settle)
        timer.daemon = True
        timer.start()

    def show_out(self, path: bytes) -> Pinned | None:
        """Forget a hidden name, at its unlink; return the node to unpin."""
        with self._changed:
            return self._hidden.pop(split(path)[1], None)

    def claim(self, path: bytes) -> bool:
        """Whether this thread is about to replace the file that it has just hidden."""
        if not self._leaving:
            return False
        with self._changed:
            leaving = self._leaving.get(path)
            if leaving is None or leaving.thread != threading.get_ident():
                return False
            del self._leaving[path]
            self._changed.notify_all()
        return True

    def settle(self) -> None:
        """Return when no name is about to go any more; for whoever looks at names."""
        if not self._leaving:
            return
        me = threading.get_ident()
        with self._changed:
            while self._leaving:
                now_s = time.monotonic()
                for path, leaving in list(self._leaving.items()):
                    if leaving.thread == me or leaving.until_s <= now_s:
                        self._unlink(path, leaving)
                if self._leaving:
                    next_s = min(leaving.until_s for leaving in self._leaving.values())
                    self._changed.wait(max(next_s - now_s, 0.001))

    def _unlink(self, path: bytes, leaving: _Leaving) -> None:
        """Needs the lock."""
        try:
            leaving.unlink()
        except (ZarrfsError, OSError) as error:
            logger.warning("unlink: %s", error)
        del self._leaving[path]
        self._changed.notify_all()

    def take_all(self) -> list[Pinned]:
        """Settle, and forget all hidden names; for the end of the mount."""
        self.settle()
        with self._changed:
            nodes = list(self._hidden.values())
            self._hidden.clear()
        return nodes
