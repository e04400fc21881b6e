"""A source that is replaced while it is mounted: noticed, checked, swapped in.

Each state of the source that was shown is a *generation*: an archive, or a
folder, with the views and everything else that the mount puts on top. Its
descriptor is kept by the supervisor, so that a worker's successor has them all,
whatever happened to the path. To swap a new one in, a worker gives its
descriptor into keeping and ends; the successor shows the new generation, and
the older ones to who has files of them open (`storage.generations`).

A thread of its own looks at the path, since that may hang as long as a network
does. Source: an archive is the same while (st_dev, st_ino, st_size,
st_mtime_ns) is, a folder while (st_dev, st_ino) is.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from zarrfs.daemon.references import References, TellsReferences
from zarrfs.errors import (
    DeniedError,
    PathNotFoundError,
    UnavailableError,
    WrongKindError,
    ZarrfsError,
)
from zarrfs.storage.backend import HandsOver, Key
from zarrfs.storage.generations import GenerationTree
from zarrfs.storage.tree import ROOT
from zarrfs.zarr_format.keys import DOCUMENT_NAMES

if TYPE_CHECKING:
    from zarrfs.daemon.mounting import Stack
    from zarrfs.daemon.sources import Keeps
    from zarrfs.storage.tree import FileTree

Signature: TypeAlias = tuple[int, int, int, int]
_PREFIX: Final = "source-"
_TOLD: Final = "announced-"
_MOST_GENERATIONS: Final = 16
_BY_ERRNO: Final[dict[int, type[ZarrfsError]]] = {
    errno.ENOENT: PathNotFoundError,
    errno.ENOTDIR: WrongKindError,
    errno.EACCES: DeniedError,
}


@dataclass(frozen=True, slots=True)
class Generation:
    """One state of a source, by the descriptor through which it is reached."""

    number: int
    kind: str
    size_bytes: int
    """Where an archive ended; what is behind was appended later."""
    descriptor: int

    @property
    def name(self) -> str:
        """What its descriptor is called where it is kept."""
        return f"{_PREFIX}{self.number}-{self.kind}-{self.size_bytes}"

    @classmethod
    def kept_as(cls, name: str, descriptor: int) -> Generation:
        number, kind, size = name.removeprefix(_PREFIX).split("-")
        return cls(int(number), kind, int(size), descriptor)

    @property
    def path(self) -> str:
        return f"/proc/self/fd/{self.descriptor}"


OpenStack: TypeAlias = "Callable[[Generation, Keeps | None], Stack]"
"""Opens a generation. Without somebody who keeps descriptors, it is only looked at."""


class ShareOf:
    """What is kept for one generation: `Keeps`, with its number before each name."""

    def __init__(self, keeper: Keeps, number: int) -> None:
        self._keeper = keeper
        self._lead = f"{number}."

    @property
    def names(self) -> Mapping[str, int]:
        lead = self._lead
        kept = dict(self._keeper.names)
        return {name[len(lead) :]: kept[name] for name in kept if name.startswith(lead)}

    def get(self, name: str) -> int | None:
        return self._keeper.get(self._lead + name)

    def keep(self, name: str, descriptor: int) -> None:
        self._keeper.keep(self._lead + name, descriptor)

    def forget(self, name: str) -> None:
        self._keeper.forget(self._lead + name)


def kept_kind(keeper: Keeps | None) -> str | None:
    """Tell which backend a predecessor opened: the source itself may be gone by now."""
    names = () if keeper is None else keeper.names
    return next((name.split("-")[2] for name in names if name.startswith(_PREFIX)), None)


class Replacements:
    """The generations of one source. `open` once; then one thread calls `find`."""

    def __init__(
        self,
        source: str,
        kind: str,
        keeper: Keeps,
        open_stack: OpenStack,
        *,
        root: str = "",
        obstacle: str = "",
    ) -> None:
        """Find what a predecessor left, or begin.

        `root` is the folder of the store that is shown. `obstacle` says why
        this mount cannot show another source; then one is only told of.
        Raises: PathNotFoundError, WrongKindError, DeniedError, UnavailableError.
        """
        self._source = source
        self._kind = kind
        self._keeper = keeper
        self._open_stack = open_stack
        self._root = root
        self._obstacle = obstacle
        self._known = sorted(
            (
                Generation.kept_as(name, descriptor)
                for name, descriptor in keeper.names.items()
                if name.startswith(_PREFIX)
            ),
            key=lambda generation: generation.number,
        )
        if not self._known:
            descriptor = self._open_first()
            self._keep(Generation(0, kind, os.fstat(descriptor).st_size, descriptor))
        self._shown = self._signature(os.fstat(self._newest.descriptor))
        self._seen: Signature | None = None
        self._refused: Signature | None = None
        self._stacks: dict[int, Stack] = {}
        self._all: GenerationTree | None = None
        self._asked: dict[int, References] = {}
        self.notice = ""
        """What an operator should know of the source; empty when all is well."""

    @property
    def _newest(self) -> Generation:
        return self._known[-1]

    def _open_first(self) -> int:
        try:
            return self._open_source()
        except OSError as error:
            kind = _BY_ERRNO.get(error.errno or 0, UnavailableError)
            raise kind(self._source, error.strerror or "") from error

    def _open_source(self) -> int:
        """Raises: OSError."""
        folder = os.O_DIRECTORY if self._kind == "directory" else 0
        return os.open(self._source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | folder)

    def _signature(self, status: os.stat_result) -> Signature:
        if self._kind == "directory" or self._obstacle:  # what is written changes the rest
            return status.st_dev, status.st_ino, 0, 0
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns

    def _keep(self, generation: Generation) -> None:
        self._known.append(generation)
        self._keeper.keep(generation.name, generation.descriptor)

    # Showing

    def open(self) -> Stack:
        """Return the newest generation's store, and a tree of all generations.

        Raises: as `open_stack`.
        """
        *older, newest = self._known
        shown = self._open(newest)
        if newest.number:  # the kernel knows its nodes as those of this generation
            later = {} if shown.tree.static else self._open_all(older)
            trees = {newest.number: shown.tree, **later}
            self._all = GenerationTree(
                newest.number,
                trees,
                {
                    generation.number: partial(self._open_tree, generation)
                    for generation in older
                    if generation.number not in trees
                },
            )
        return shown if self._all is None else shown._replace(tree=self._all)

    def _open(self, generation: Generation) -> Stack:
        stack = self._open_stack(generation, ShareOf(self._keeper, generation.number))
        self._stacks[generation.number] = stack
        return stack

    def _open_tree(self, generation: Generation) -> FileTree:
        return self._open(generation).tree

    def _open_all(self, generations: list[Generation]) -> dict[int, FileTree]:
        """Open those that count references, so that none is missed."""
        trees = {}
        for generation in generations:
            try:
                trees[generation.number] = self._open_tree(generation)
            except (ZarrfsError, OSError):
                continue  # whoever still has a node of it is told that it is stale
        return trees

    def announce(self) -> None:
        """Tell the kernel of a generation that it was not told of yet."""
        if self._all is not None and self._told not in self._keeper.names:
            before = [generation.number for generation in self._known[-2:-1]]
            self._all.announce(*before)

    def announced(self) -> None:
        """The kernel has been told by now."""
        if self._told not in self._keeper.names:
            self._keeper.keep(self._told, self._newest.descriptor)
            self._keeper.forget(f"{_TOLD}{self._newest.number - 1}")

    def let_go(self, mount: TellsReferences) -> None:
        """Give up the older generations that nobody has a file or folder open of."""
        if self._all is None:
            return
        for generation in self._known[:-1]:
            asked = self._asked.get(generation.number)
            if asked is None:
                nodeids = partial(self._all.nodeids, generation.number)
                asked = References(mount, nodeids, self._all.place_of)
                self._asked[generation.number] = asked
            try:
                gone = asked.are_gone()
            except (ZarrfsError, OSError):
                gone = True  # no longer readable, so of no use to anybody
            if gone:
                self._drop(generation)

    def _drop(self, generation: Generation) -> None:
        self._known.remove(generation)
        del self._asked[generation.number]
        if self._all is not None:
            self._all.drop(generation.number)
        stack = self._stacks.pop(generation.number, None)
        if stack is not None:
            stack.storage.close()
        self._forget(generation)
        os.close(generation.descriptor)

    def _forget(self, generation: Generation) -> None:
        share = ShareOf(self._keeper, generation.number)
        for name in share.names:
            share.forget(name)
        self._keeper.forget(generation.name)

    @property
    def _told(self) -> str:
        return f"{_TOLD}{self._newest.number}"

    # Noticing

    def find(self, log: logging.Logger) -> bool:
        """Look at the path; True when another source is there, right, and kept.

        It must look the same twice in a row, so that one which is still being
        written is not taken.
        """
        try:
            found = self._signature(os.stat(self._source))
        except OSError as error:
            reason = f"{self._source}: {error.strerror}; what was mounted stays"
            settled, self._seen = self._seen is None, None
            if settled:
                self._tell(log, logging.WARNING, reason)
            return False
        settled, self._seen = found == self._seen, found
        if found == self._shown:
            self.notice = ""
            return False
        if not settled or found == self._refused:
            return False
        try:
            generation = self._take(found)
        except (ZarrfsError, OSError) as error:
            # A folder may become right while it stays the same one.
            self._refused = None if self._kind == "directory" else found
            self._tell(log, logging.ERROR, f"replaced, but the old stays mounted: {error}")
            return False
        for old in self._known[: 1 - _MOST_GENERATIONS]:
            self._forget(old)
        self._keep(generation)
        log.info("%s was replaced; the new one is shown from now on", self._source)
        return True

    def _tell(self, log: logging.Logger, level: int, notice: str) -> None:
        if notice != self.notice:
            log.log(level, "%s", notice)
        self.notice = notice

    def _take(self, found: Signature) -> Generation:
        """Open and check what is at the path now. Raises: ZarrfsError, OSError."""
        if self._obstacle:
            raise UnavailableError(self._source, self._obstacle, remedy="mount it anew")
        descriptor = self._open_source()
        try:
            status = os.fstat(descriptor)
            if self._signature(status) != found:
                raise UnavailableError(self._source, "replaced once more at this moment")
            number = self._newest.number + 1
            generation = Generation(number, self._kind, status.st_size, descriptor)
            self._check(generation)
        except BaseException:
            os.close(descriptor)
            raise
        return generation

    def _check(self, generation: Generation) -> None:
        """Open it as a successor will, and see that it is no half of a store."""
        stack = self._open_stack(generation, None)
        try:
            stack.tree.list_dir(ROOT)
            names = self._names(stack)
            if not names:
                raise UnavailableError(self._source, "the new one is empty")
            shown = self._names(self._stacks[self._newest.number])
            if shown & DOCUMENT_NAMES and not names & DOCUMENT_NAMES:
                raise WrongKindError(self._source, "the new one is no Zarr group or array")
        finally:
            stack.storage.close()

    def _names(self, stack: Stack) -> set[str]:
        return {found.name for found in stack.store.backend.list_dir(Key(self._root))}

    # Handing over

    def hand_over(self) -> None:
        """Leave a successor the files that are open, should their names go as well."""
        for stack in self._stacks.values():
            backend = stack.store.backend
            if isinstance(backend, HandsOver):
                backend.hand_over()
