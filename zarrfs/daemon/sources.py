"""From a mount's source to an open store, with the options that each backend has.

Owns what a backend is told by a mount, and which of its descriptors outlive a
worker (`Keeper`): a memory store's memfd, in which all of it is.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from zarrfs.daemon.options import MountOptions
from zarrfs.errors import InvalidArgumentError, ReadOnlyError

if TYPE_CHECKING:
    from zarrfs.daemon.mounting import MountSpec
    from zarrfs.storage.backend import Backend
    from zarrfs.storage.memory import MemoryBackend
    from zarrfs.storage.storage import Storage

MEMORY = "memory"
_MEMFD = "memory"
_LEFT_BY = {"zip": "archive-", "directory": "nodes"}
"""How the names begin of what each backend keeps."""


class Keeps(Protocol):
    """Who keeps descriptors for a successor: `keeper.Keeper`."""

    @property
    def names(self) -> Mapping[str, int]: ...
    def get(self, name: str) -> int | None: ...
    def keep(self, name: str, descriptor: int) -> None: ...
    def forget(self, name: str) -> None: ...


def is_memory(source: str, kind: str | None = None) -> bool:
    """Whether a source is a store in memory rather than a path."""
    return kind == MEMORY or source == MEMORY or source.startswith(f"{MEMORY}:")


def open_storage(spec: MountSpec, keeper: Keeps | None = None) -> Storage:
    """Open the store that a mount shows, or make it.

    An archive is opened for reading unless `rw` asks for more; everything else
    for writing where that is possible.

    Raises: what `Storage.open` and `Storage.init` raise.
    """
    from zarrfs.storage.storage import Storage

    if is_memory(spec.source, spec.kind):
        return Storage(_open_memory(spec.options, keeper))
    for name, value in (("snapshot", spec.options.snapshot), ("size", spec.options.size_bytes)):
        if value is not None:
            raise InvalidArgumentError(f"-o {name}", "only a memory store has one")
    kind = spec.kind or _kept_kind(keeper) or _kind_of(spec.source, create=spec.create)
    if spec.create and not os.path.lexists(spec.source):
        if spec.options.read_only:
            reason = "a new store can only be mounted for writing"
            raise InvalidArgumentError("-o ro", reason, remedy="leave out ro or --create")
        Storage.init(kind, path=spec.source).close()
    return Storage(_open(spec.source, kind, spec.options, keeper, writing=spec.create))


def _open_memory(options: MountOptions, keeper: Keeps | None) -> Backend:
    kept = None if keeper is None else keeper.get(_MEMFD)
    if kept is not None:
        return _continue_memory(os.dup(kept), options)
    backend = _make_memory(options)
    if keeper is not None:
        keeper.keep(_MEMFD, backend.fileno())
    return backend


def _continue_memory(descriptor: int, options: MountOptions) -> Backend:
    if options.snapshot is not None:
        from zarrfs.storage.memory_snapshot import SnapshotBackend

        return SnapshotBackend.continued(
            descriptor, options.snapshot, size_limit_bytes=options.size_bytes
        )
    from zarrfs.storage.memory import MemoryBackend

    return MemoryBackend.from_memfd(descriptor, size_limit_bytes=options.size_bytes)


def _make_memory(options: MountOptions) -> MemoryBackend:
    if options.snapshot is not None:
        from zarrfs.storage.memory_snapshot import SnapshotBackend

        return SnapshotBackend(options.snapshot, size_limit_bytes=options.size_bytes)
    from zarrfs.storage.memory import MemoryBackend

    return MemoryBackend(size_limit_bytes=options.size_bytes)


def _open(
    source: str, kind: str, options: MountOptions, keeper: Keeps | None, *, writing: bool
) -> Backend:
    read_only = options.read_only
    if read_only is None and kind == "zip":
        read_only = not writing
    if kind == "zip":
        return _open_zip(source, options, keeper, read_only=bool(read_only))
    if kind == "directory":
        return _open_directory(source, options, keeper, read_only=read_only)
    from zarrfs.storage.storage import Storage

    storage = Storage.open(source, storage=kind, read_only=read_only)
    if read_only is False and storage.read_only:
        storage.close()
        raise ReadOnlyError(source, "cannot be opened for writing", remedy="mount it -o ro")
    return storage.backend


def _open_zip(
    source: str, options: MountOptions, keeper: Keeps | None, *, read_only: bool
) -> Backend:
    from zarrfs.storage.zip.backend import ZipBackend
    from zarrfs.storage.zip.content import DEFAULT_CACHE_BYTES

    cache_bytes = DEFAULT_CACHE_BYTES if options.cache_bytes is None else options.cache_bytes
    if read_only and keeper is not None:
        from zarrfs.daemon.replacements import Generations, ShownArchive

        return ShownArchive(Generations(source, keeper), source, cache_bytes)
    if read_only:
        return ZipBackend.open(source, read_only=True, cache_bytes=cache_bytes)
    return _open_writable_zip(source, options, cache_bytes)


def _open_writable_zip(source: str, options: MountOptions, cache_bytes: int) -> Backend:
    from zarrfs.storage.zip.writable import DEFAULT_COMMIT_INTERVAL_S, WritableZip

    interval_s = DEFAULT_COMMIT_INTERVAL_S if options.commit_s is None else options.commit_s
    if options.compact_percent is None:
        return WritableZip(source, cache_bytes=cache_bytes, commit_interval_s=interval_s)
    from zarrfs.storage.zip.compact_at_end import CompactedAtEnd

    return CompactedAtEnd(
        source,
        percent=options.compact_percent,
        cache_bytes=cache_bytes,
        commit_interval_s=interval_s,
    )


def _open_directory(
    source: str, options: MountOptions, keeper: Keeps | None, *, read_only: bool | None
) -> Backend:
    from zarrfs.storage.directory import DirectoryBackend
    from zarrfs.storage.directory.survival import Survival

    if read_only is None:
        read_only = not os.access(source, os.W_OK)
    backend = DirectoryBackend(source, read_only=read_only, follow_symlinks=options.follow_symlinks)
    if keeper is not None:
        backend.file_tree().survive(Survival(keeper))
    return backend


def _kept_kind(keeper: Keeps | None) -> str | None:
    """Tell by what a predecessor left: the source itself may be gone by now."""
    names = "" if keeper is None else " ".join(["", *keeper.names])
    return next((kind for kind, left in _LEFT_BY.items() if f" {left}" in names), None)


def _kind_of(source: str, *, create: bool) -> str:
    from zarrfs.storage import registry

    if create and not os.path.lexists(source):
        archive = source.endswith((".zip", ".ozx"))
        return "zip" if archive else "directory"
    return registry.canonical_name(registry.infer(source))
