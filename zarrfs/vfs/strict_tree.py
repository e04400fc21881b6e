"""`validate=strict`: documents and chunks that cannot be right are refused.

A tree around another in which a file with a Zarr name is written to a stage
first. Closing it, fsync, or giving a file such a name by rename or link makes
it complete: then it is let through whole, or the call fails with EINVAL and
everybody sees what was there before, also if that was nothing.

A file that gets its Zarr meaning later (a chunk written before its `.zarray`)
is written directly. Any thread may call it; lock order: the tree's, then one
stage's.
"""

from __future__ import annotations

import logging
import os
import stat
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from zarrfs.errors import InvalidArgumentError, NotFoundError, PathNotFoundError, StaleError
from zarrfs.storage.tree import (
    Attr,
    AttrChange,
    Buffer,
    Change,
    DirEntry,
    Entry,
    FileTree,
    NodeId,
    OpenFile,
    Owner,
)
from zarrfs.vfs.delegating_tree import DelegatingFile
from zarrfs.vfs.staged_file import Stage, StagedFile
from zarrfs.vfs.warning_tree import WarningTree
from zarrfs.vfs.zarr_nodes import ZarrNodes, read_whole
from zarrfs.zarr_format.keys import join_key

logger = logging.getLogger(__name__)


class StrictTree(WarningTree):
    """Refuses what `WarningTree` only tells of."""

    def __init__(self, inner: FileTree, nodes: ZarrNodes, notify: Callable[[Change], None]) -> None:
        super().__init__(inner, nodes)
        self._notify = notify
        self._lock = threading.Lock()
        self._stages: dict[NodeId, Stage] = {}
        """Guarded by: `_lock`; single reads need no lock."""
        self._stillborn: set[NodeId] = set()
        """Files whose first content was refused, until the kernel forgets them."""

    # What is shown

    def lookup(self, parent: NodeId, name: bytes) -> Entry:
        entry = self.inner.lookup(parent, name)
        stage = self._stages.get(entry.nodeid)
        if stage is None:
            return entry
        if stage.refused and stage.born_at == (parent, name):
            self.inner.forget(entry.nodeid, 1)
            raise PathNotFoundError(os.fsdecode(name))
        return entry._replace(attr=stage.apply(entry.attr))

    def attr(self, nodeid: NodeId) -> Attr:
        attr = self.inner.attr(nodeid)
        stage = self._stages.get(nodeid)
        if nodeid in self._stillborn or (stage and stage.refused and stage.born_at):
            # Makes the kernel look the name up again, should it still know it.
            raise StaleError(f"node {nodeid}", "its first content was refused")
        return attr if stage is None else stage.apply(attr)

    def forget(self, nodeid: NodeId, count: int) -> None:
        self._stillborn.discard(nodeid)
        self.inner.forget(nodeid, count)

    def list_dir(self, nodeid: NodeId) -> Sequence[DirEntry]:
        names = self.inner.list_dir(nodeid)
        with self._lock:
            born = [stage.born_at for stage in self._stages.values() if stage.refused]
        hidden = {place[1] for place in born if place is not None and place[0] == nodeid}
        return [entry for entry in names if entry.name not in hidden] if hidden else names

    # Opening

    def open(self, nodeid: NodeId, flags: int) -> OpenFile:
        if not self._is_zarr(nodeid):
            return self.inner.open(nodeid, flags)
        if flags & os.O_ACCMODE == os.O_RDONLY and not flags & os.O_TRUNC:
            return _Reader(self._stages, nodeid, self.inner.open(nodeid, flags))
        with self._lock:
            stage = self._stages.get(nodeid)
            if stage is None:
                stage = self._new_stage(nodeid, self.inner.open(nodeid, os.O_RDWR), None)
            stage.writers += 1
        if flags & os.O_TRUNC:
            stage.truncate(0)
        return self._writer(stage, flags)

    def create(
        self, parent: NodeId, name: bytes, mode: int, owner: Owner, flags: int
    ) -> tuple[Entry, OpenFile]:
        key = join_key(self.inner.key_of(parent) or "", os.fsdecode(name))
        if not self.validator.concerns(key):
            return super(WarningTree, self).create(parent, name, mode, owner, flags)
        both = flags & ~os.O_ACCMODE | os.O_RDWR
        entry, file = super(WarningTree, self).create(parent, name, mode, owner, both)
        with self._lock:
            stage = self._new_stage(entry.nodeid, file, (parent, name))
            stage.writers += 1
        stage.truncate(0)  # nothing is not a document: closing now is judged, too
        return entry, self._writer(stage, flags)

    def _is_zarr(self, nodeid: NodeId) -> bool:
        key = self.inner.key_of(nodeid)
        return key is not None and self.validator.concerns(key)

    def _new_stage(
        self, nodeid: NodeId, file: OpenFile, born_at: tuple[NodeId, bytes] | None
    ) -> Stage:
        """Lock held."""
        stage = Stage(nodeid, file, lambda: self.inner.attr(nodeid).size, born_at)
        self._stages[nodeid] = stage
        return stage

    def _writer(self, stage: Stage, flags: int) -> StagedFile:
        return StagedFile(
            stage,
            appends=bool(flags & os.O_APPEND),
            complete=self._complete,
            closed=self._writer_closed,
        )

    # Judging

    def _complete(self, stage: Stage) -> None:
        """Let a stage's content through. Raises: InvalidArgumentError (EINVAL)."""
        with stage.lock:
            spool = stage.spool
            if spool is None:
                return
            key = self.inner.key_of(stage.nodeid)
            problem = key and self.validator.problem(key, spool.size, spool.content)
            if not problem:
                stage.let_through()
                stage.born_at = None
                return
            newly = not stage.refused
            stage.refused = True
        if newly:
            logger.warning("%s: refused: %s", key, problem)
            self._tell(stage)
        raise InvalidArgumentError(key or "", problem)

    def _tell(self, stage: Stage) -> None:
        """The kernel has seen the refused content as it was written."""
        self._notify(Change(None, b"", stage.nodeid))
        if stage.born_at is not None:
            self._notify(Change(*stage.born_at, None))

    def _writer_closed(self, stage: Stage) -> None:
        with self._lock:
            stage.writers -= 1
            if stage.writers:
                return
        try:
            self._complete(stage)
        except InvalidArgumentError:
            pass  # told when it was closed, or logged just now
        finally:
            with self._lock:
                if not stage.writers:
                    self._end(stage)
                    del self._stages[stage.nodeid]

    def _end(self, stage: Stage) -> None:
        """Nobody writes any more. Lock held."""
        if stage.refused and stage.born_at is not None:
            self._stillborn.add(stage.nodeid)
            self._unlink_if_there(stage.nodeid, *stage.born_at)
            self.nodes.clear()
        stage.discard()
        stage.file.close()

    def _unlink_if_there(self, nodeid: NodeId, parent: NodeId, name: bytes) -> None:
        try:
            entry = self.inner.lookup(parent, name)
        except (NotFoundError, FileNotFoundError):
            return  # its writer removed it
        if entry.nodeid == nodeid:
            self.inner.unlink(parent, name)
        self.inner.forget(entry.nodeid, 1)

    def _judge(self, key: str, nodeid: NodeId) -> None:
        """Raises: InvalidArgumentError when a file cannot have a name."""
        stage = self._stages.get(nodeid)
        if stage is not None and stage.shown:
            with stage.lock:
                read: Callable[[], Buffer] = partial(stage.read, 0, stage.size())
                problem = self.validator.problem(key, stage.size(), read)
        else:
            size = self.inner.attr(nodeid).size
            problem = self.validator.problem(key, size, lambda: read_whole(self.inner, nodeid))
        if problem:
            raise InvalidArgumentError(key, problem)

    # Changing

    def set_attr(self, nodeid: NodeId, change: AttrChange) -> Attr:
        if change.size is not None and self._is_zarr(nodeid):
            file = self.open(nodeid, os.O_WRONLY)
            try:
                file.truncate(change.size)
                file.flush()
            finally:
                file.close()
            change = replace(change, size=None)
        attr = self.inner.set_attr(nodeid, change)
        stage = self._stages.get(nodeid)
        return attr if stage is None else stage.apply(attr)

    def rename(
        self, parent: NodeId, name: bytes, new_parent: NodeId, new_name: bytes, flags: int
    ) -> None:
        entry = self.inner.lookup(parent, name)
        try:
            if stat.S_ISREG(entry.attr.mode):
                self._judge(self._key_at(new_parent, new_name), entry.nodeid)
            self.inner.rename(parent, name, new_parent, new_name, flags)
            stage = self._stages.get(entry.nodeid)
            if stage is not None:
                stage.born_at = None
        finally:
            self.inner.forget(entry.nodeid, 1)
        self.nodes.clear()

    def link(self, nodeid: NodeId, parent: NodeId, name: bytes) -> Entry:
        self._judge(self._key_at(parent, name), nodeid)
        return self.inner.link(nodeid, parent, name)

    def _key_at(self, parent: NodeId, name: bytes) -> str:
        return join_key(self.inner.key_of(parent) or "", os.fsdecode(name))


class _Reader(DelegatingFile):
    """A reader's file, which sees what a writer wrote unless it was refused."""

    __slots__ = ("_nodeid", "_stages")

    def __init__(self, stages: dict[NodeId, Stage], nodeid: NodeId, file: OpenFile) -> None:
        super().__init__(file)
        self._stages = stages
        self._nodeid = nodeid

    def read(self, offset: int, size: int) -> Buffer:
        stage = self._stages.get(self._nodeid)
        if stage is not None and stage.shown:
            return stage.read(offset, size)
        return self.file.read(offset, size)

    def fileno(self) -> None:
        return None
