"""New content of a file that is shown to its writers before it is let through.

A `Stage` belongs to one node and is shared by all who write it; it holds the
content in a spool until it is complete. What is refused is shown to nobody
else: readers go on with what was there. A writer may add to refused content,
which makes it pending again: a forked child that closes its copy of a
descriptor completes a file that its parent is still writing.

Any thread may call this; each stage has a lock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from zarrfs.errors import UnsupportedError
from zarrfs.storage.tree import Attr, Buffer, NodeId, OpenFile
from zarrfs.vfs.key_files import seek_in_data
from zarrfs.vfs.spool import Spool

_PIECE_BYTES = 1 << 20


@dataclass(slots=True)
class Stage:
    """What is written to one node and not let through yet."""

    nodeid: NodeId
    file: OpenFile
    """The node itself, open for reading and writing."""
    stored_size: Callable[[], int]
    born_at: tuple[NodeId, bytes] | None
    """Where the file was made by this writer; None if it was there before."""
    writers: int = 0
    """Guarded by: the tree's lock."""
    spool: Spool | None = None
    refused: bool = False
    mtime_ns: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)
    """Guards `spool`, `refused` and `mtime_ns`."""

    @property
    def shown(self) -> bool:
        """Whether others see this content rather than what was there."""
        return self.spool is not None and not self.refused

    def apply(self, attr: Attr) -> Attr:
        """Return attributes as they are with the new content."""
        spool = self.spool
        if spool is None or self.refused:
            return attr
        times = {"mtime_ns": self.mtime_ns, "ctime_ns": max(self.mtime_ns, attr.ctime_ns)}
        return attr._replace(size=spool.size, blocks=-(-spool.size // 512), **times)

    def _changing(self, *, keep: bool = True) -> Spool:
        """Return the spool, with the present content unless that is not wanted. Lock held."""
        if self.spool is None:
            self.spool = Spool()
            if keep:
                self._load(self.spool)
        self.refused = False
        self.mtime_ns = time.time_ns()
        return self.spool

    def _load(self, spool: Spool) -> None:
        offset = 0
        while len(piece := self.file.read(offset, _PIECE_BYTES)):
            offset += spool.write(offset, piece)

    def read(self, offset: int, size: int) -> Buffer:
        with self.lock:
            spool = self.spool
            return self.file.read(offset, size) if spool is None else spool.read(offset, size)

    def write(self, offset: int, data: Buffer, *, append: bool) -> int:
        with self.lock:
            spool = self._changing()
            return spool.append(data) if append else spool.write(offset, data)

    def truncate(self, size: int) -> None:
        with self.lock:
            self._changing(keep=size > 0).truncate(size)

    def size(self) -> int:
        with self.lock:
            if self.spool is not None:
                return self.spool.size
            return self.stored_size()

    def let_through(self) -> None:
        """Write the content to the node. Lock held. Raises: what the node raises."""
        spool = self.spool
        if spool is None:
            return
        self.file.truncate(spool.size)
        offset = 0
        while offset < spool.size:
            offset += self.file.write(offset, spool.read(offset, _PIECE_BYTES))
        self.file.flush()
        self.discard()

    def discard(self) -> None:
        if self.spool is not None:
            self.spool.close()
        self.spool, self.refused = None, False


class StagedFile:
    """`OpenFile` of a writer."""

    __slots__ = ("_appends", "_closed", "_complete", "_stage")

    def __init__(
        self,
        stage: Stage,
        *,
        appends: bool,
        complete: Callable[[Stage], None],
        closed: Callable[[Stage], None],
    ) -> None:
        self._stage = stage
        self._appends = appends
        self._complete = complete
        self._closed = closed

    def read(self, offset: int, size: int) -> Buffer:
        return self._stage.read(offset, size)

    def write(self, offset: int, data: Buffer) -> int:
        return self._stage.write(offset, data, append=self._appends)

    def truncate(self, size: int) -> None:
        self._stage.truncate(size)

    def allocate(self, mode: int, offset: int, length: int) -> None:
        if mode:
            raise UnsupportedError("", "fallocate with mode bits")
        if offset + length > self._stage.size():
            self._stage.truncate(offset + length)

    def seek(self, offset: int, whence: int) -> int:
        return seek_in_data(self._stage.size(), offset, whence)

    def sync(self, *, data_only: bool) -> None:
        self._complete(self._stage)
        self._stage.file.sync(data_only=data_only)

    def flush(self) -> None:
        self._complete(self._stage)

    def fileno(self) -> None:
        return None

    def close(self) -> None:
        self._closed(self._stage)
