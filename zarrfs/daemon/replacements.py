"""An archive that is replaced while it is mounted: noticed, checked, swapped in.

Each state of the archive that was shown is a *generation*. Its descriptor is
kept by the supervisor, under a name that tells its number and where it ended,
so that a worker's successor has them all, whatever happened to the path. To
swap a new archive in, a worker gives its descriptor into keeping and ends; the
successor shows the new generation and keeps the older ones for who has files
of them open.

Source: an archive is the same while (st_dev, st_ino, st_size, st_mtime_ns) is.
"""

from __future__ import annotations

import contextlib
import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from zarrfs.errors import ZarrfsError
from zarrfs.storage.zip.archive import Archive
from zarrfs.storage.zip.backend import ZipBackend
from zarrfs.storage.zip.tree import ArchiveTree

if TYPE_CHECKING:
    from zarrfs.daemon.sources import Keeps
    from zarrfs.storage.generations import GenerationTree

Signature: TypeAlias = tuple[int, int, int, int]
_PREFIX: Final = "archive-"
_TOLD: Final = "announced-"
_MOST_GENERATIONS: Final = 16


@dataclass(frozen=True, slots=True)
class Generation:
    """One state of the archive."""

    number: int
    size_bytes: int
    descriptor: int

    @property
    def name(self) -> str:
        return f"{_PREFIX}{self.number}-{self.size_bytes}"

    @property
    def path(self) -> str:
        return f"/proc/self/fd/{self.descriptor}"


def signature_of(status: os.stat_result) -> Signature:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


class Generations:
    """The states of one archive that were shown, and whether there is a new one."""

    def __init__(self, source: str, keeper: Keeps) -> None:
        """Find what a predecessor left, or begin. Raises: OSError."""
        self._source = source
        self._keeper = keeper
        self._known = sorted(
            (
                _generation(name, fd)
                for name, fd in keeper.names.items()
                if name.startswith(_PREFIX)
            ),
            key=lambda generation: generation.number,
        )
        if not self._known:
            self._add(0)
        self._shown = signature_of(os.fstat(self._known[-1].descriptor))
        self._seen = self._shown
        self._refused: Signature | None = None

    def _add(self, number: int) -> None:
        """Keep the archive that is at the path now."""
        descriptor = os.open(self._source, os.O_RDONLY | os.O_CLOEXEC)
        generation = Generation(number, os.fstat(descriptor).st_size, descriptor)
        self._known.append(generation)
        self._keeper.keep(generation.name, descriptor)

    @property
    def newest(self) -> Generation:
        return self._known[-1]

    @property
    def older(self) -> list[Generation]:
        return self._known[:-1]

    def announce(self, tree: GenerationTree) -> None:
        """Tell the kernel of the newest generation, once."""
        told = f"{_TOLD}{self.newest.number}"
        if told not in self._keeper.names:
            tree.announce()
            self._keeper.keep(told, self.newest.descriptor)
            self._keeper.forget(f"{_TOLD}{self.newest.number - 1}")

    def find_replacement(self, log: logging.Logger) -> bool:
        """Look at the path; True when a new archive is there, right, and kept.

        It must look the same twice in a row, so that one which is still being
        written is not taken.
        """
        try:
            found = signature_of(os.stat(self._source))
        except OSError:
            return False  # gone for now; what is mounted stays
        settled, self._seen = found == self._seen, found
        if found in (self._shown, self._refused) or not settled:
            return False
        try:
            Archive.open(self._source, size_bytes=found[2]).close()
        except (ZarrfsError, OSError) as error:
            self._refused = found
            log.error("replaced by something that cannot be mounted, so the old stays: %s", error)
            return False
        for old in self._known[: 1 - _MOST_GENERATIONS]:
            self._keeper.forget(old.name)
        self._add(self.newest.number + 1)
        log.info("%s was replaced; the new one is shown from now on", self._source)
        return True


class ShownArchive(ZipBackend):
    """The newest generation as a store, all of them as a tree."""

    def __init__(self, generations: Generations, source: str, cache_bytes: int) -> None:
        """Raises: as `Archive.open`."""
        self.generations = generations
        self._all: GenerationTree | None = None
        newest = generations.newest
        try:
            archive = Archive.open(
                newest.path, cache_bytes=cache_bytes, size_bytes=newest.size_bytes
            )
        except ZarrfsError as error:
            error.subject = source  # rather than the descriptor's path
            raise
        super().__init__(archive)
        self.location = source
        if generations.older:
            self._all = self._with_older(newest.number, cache_bytes)

    def _with_older(self, number: int, cache_bytes: int) -> GenerationTree:
        from zarrfs.storage.generations import GenerationTree

        trees = {number: super().file_tree()}
        for older in self.generations.older:
            with contextlib.suppress(ZarrfsError):
                archive = Archive.open(
                    older.path, cache_bytes=cache_bytes, size_bytes=older.size_bytes
                )
                trees[older.number] = ArchiveTree(archive)
        return GenerationTree(trees)

    def file_tree(self) -> ArchiveTree | GenerationTree:  # type: ignore[override]  # the same ability
        return self._all or super().file_tree()

    def announce(self) -> None:
        """Tell the kernel if a generation is shown that it does not know of."""
        if self._all is not None:
            self.generations.announce(self._all)


def _generation(name: str, descriptor: int) -> Generation:
    number, size = name.removeprefix(_PREFIX).split("-")
    return Generation(int(number), int(size), descriptor)
