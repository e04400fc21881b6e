"""Copying a whole hierarchy from one store into another, new one.

The copy is made under a name of its own beside the destination and gets the
final name only when it is complete, so that nobody ever sees half of it. What
an interrupted copy left is continued: a key is done when it is there with the
source's size and is not older. Values are written whole by the backend.

Used from one thread, which spreads the copying over others.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from zarrfs.errors import CorruptError, ExistsError, KeyNotFoundError, NoSpaceError
from zarrfs.storage.backend import Backend, Key
from zarrfs.zarr_format.keys import DOCUMENT_NAMES, is_temporary_name, split_key

if TYPE_CHECKING:
    from zarrfs.storage.storage import Storage

_WINDOW = 4
"""Keys in flight for each worker."""
_COMMIT_S = 30.0
"""How often a growing archive is committed, and so how much an interruption costs."""
_CLOCK_SLACK_NS = 2_000_000_000
"""An archive's times are in steps of two seconds."""


class Item(NamedTuple):
    """One key to copy."""

    key: Key
    size_bytes: int
    mtime_ns: int


@dataclass(slots=True)
class Tally:
    """What was done. Changed by the copying thread alone."""

    files: int = 0
    bytes: int = 0
    skipped: int = 0
    """Files that an earlier, interrupted copy had done."""


Result = TypeVar("Result")
OnCopied = Callable[[Item], object]


def partial_name(destination: str) -> str:
    """Return the name a copy has until it is complete.

    >>> partial_name("/data/out.zarr.zip")
    '/data/.out.zarr.partial.zip'
    """
    folder, name = os.path.split(destination)
    stem, suffix = os.path.splitext(name)
    return os.path.join(folder, f".{stem}.partial{suffix}")


def items_of(source: Backend) -> list[Item]:
    """Return what is to be copied: documents first, those near the root leading.

    That is the order which OME-Zarr RFC 9 asks of an archive. Names that
    writers use only while they write are left out.
    """
    items = []
    for key in source.list_keys(Key("")):
        if is_temporary_name(split_key(key)[1]):
            continue
        try:
            stat = source.stat(key)
        except KeyNotFoundError:
            continue  # removed since it was listed
        items.append(Item(key, stat.size_bytes, stat.mtime_ns))
    items.sort(key=_order)
    return items


def _order(item: Item) -> tuple[bool, int, str]:
    document = split_key(item.key)[1] in DOCUMENT_NAMES
    return (not document, item.key.count("/") if document else 0, item.key)


class Copier:
    """Copies items from one backend to another; `tally` counts what was done."""

    def __init__(self, source: Backend, target: Backend, *, workers: int) -> None:
        self._source = source
        self._target = target
        self._workers = workers
        self.tally = Tally()

    def copy(self, items: list[Item], on_copied: OnCopied) -> None:
        """Copy what is not there yet, then make all of it durable.

        Raises: what reading or writing raises; what was committed stays.
        """
        documents = [item for item in items if split_key(item.key)[1] in DOCUMENT_NAMES]
        others = items[len(documents) :]
        next_commit_s = time.monotonic() + _COMMIT_S
        with ThreadPoolExecutor(self._workers, "pack") as pool:
            # Documents one after another: theirs is the order of the archive.
            spread = _windowed(pool, self._copy_one, others, self._workers * _WINDOW)
            for item, copied in chain(map(self._copy_one, documents), spread):
                self.tally.files += 1
                self.tally.bytes += item.size_bytes
                self.tally.skipped += not copied
                on_copied(item)
                if time.monotonic() > next_commit_s:
                    self._target.flush()
                    next_commit_s = time.monotonic() + _COMMIT_S
        self._target.flush()

    def compare(self, items: list[Item], on_compared: OnCopied) -> None:
        """Read everything again and compare it with the source, byte for byte.

        Raises: CorruptError for the first difference.
        """
        with ThreadPoolExecutor(self._workers, "compare") as pool:
            for item in _windowed(pool, self._compare_one, items, self._workers * _WINDOW):
                on_compared(item)

    def _copy_one(self, item: Item) -> tuple[Item, bool]:
        if self._is_done(item):
            return item, False
        self._target.set(item.key, self._source.get(item.key))
        return item, True

    def _is_done(self, item: Item) -> bool:
        try:
            stat = self._target.stat(item.key)
        except KeyNotFoundError:
            return False
        fresh = stat.mtime_ns + _CLOCK_SLACK_NS >= item.mtime_ns
        return stat.size_bytes == item.size_bytes and fresh

    def _compare_one(self, item: Item) -> Item:
        if self._source.get(item.key) != self._target.get(item.key):
            raise CorruptError(item.key, "the copy differs from the source")
        return item


def open_partial(destination: str, kind: str, *, force: bool) -> tuple[Storage, bool]:
    """Make the store that becomes the destination, or open what is left of it.

    Returns it and whether it was there. Raises: ExistsError when the
    destination exists already, unless `force`; BusyError when another copy is
    at work.
    """
    from zarrfs.storage.storage import Storage

    if os.path.lexists(destination) and not force:
        raise ExistsError(destination, "exists already", remedy="--force replaces it")
    partial = partial_name(destination)
    if os.path.lexists(partial):
        return Storage.open(partial, storage=kind, read_only=False), True
    return Storage.init(kind, path=partial), False


def finish(destination: str) -> None:
    """Give the complete copy its final name, at once and durably."""
    partial, folder = partial_name(destination), os.path.dirname(destination) or "."
    if os.path.isdir(partial) and os.path.lexists(destination):
        _swap_folders(partial, destination)
    else:
        os.replace(partial, destination)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _swap_folders(new: str, old: str) -> None:
    """rename(2) does not replace a folder that holds something."""
    import shutil

    aside = f"{new}.old"
    os.rename(old, aside)
    os.rename(new, old)
    shutil.rmtree(aside)


def check_space(items: list[Item], destination: str) -> None:
    """Raises: NoSpaceError when the copy cannot fit."""
    from zarrfs.cli.quantities_text import size_text

    needed = sum(item.size_bytes for item in items)
    status = os.statvfs(os.path.dirname(destination) or ".")
    free = status.f_bavail * status.f_frsize
    if needed > free:
        reason = f"{size_text(needed)} are needed, {size_text(free)} are free"
        raise NoSpaceError(destination, reason)


def _windowed(
    pool: ThreadPoolExecutor, work: Callable[[Item], Result], items: Iterable[Item], window: int
) -> Iterator[Result]:
    """Yield the results in order, with so many items in flight."""
    in_flight: deque[Future[Result]] = deque()
    try:
        for item in items:
            in_flight.append(pool.submit(work, item))
            if len(in_flight) >= window:
                yield in_flight.popleft().result()
        while in_flight:
            yield in_flight.popleft().result()
    finally:
        for future in in_flight:
            future.cancel()
