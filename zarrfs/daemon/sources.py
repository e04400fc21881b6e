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
    from zarrfs.daemon.replacements import Generation
    from zarrfs.storage.backend import Backend
    from zarrfs.storage.memory import MemoryBackend
    from zarrfs.storage.storage import Storage

MEMORY = "memory"
_MEMFD = "memory"


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


def open_storage(
    spec: MountSpec, keeper: Keeps | None = None, generation: Generation | None = None
) -> Storage:
    """Open the store that a mount shows; with a generation, that state of it.

    An archive is opened for reading unless `rw` asks for more; everything else
    for writing where that is possible.

    Raises: what `Storage.open` and `Storage.init` raise.
    """
    from zarrfs.storage.storage import Storage

    if is_memory(spec.source, spec.kind):
        return Storage(_open_memory(spec.options, keeper))
    kind = prepare_source(spec) if generation is None else generation.kind
    return Storage(_open(spec, kind, keeper, generation))


def prepare_source(spec: MountSpec) -> str:
    """Return which backend a source in the file system has; make it if that was asked.

    Raises: InvalidArgumentError, and what `Storage.init` raises.
    """
    for name, value in (("snapshot", spec.options.snapshot), ("size", spec.options.size_bytes)):
        if value is not None:
            raise InvalidArgumentError(f"-o {name}", "only a memory store has one")
    kind = _kind_of(spec)
    if spec.create and not os.path.lexists(spec.source):
        if spec.options.read_only:
            reason = "a new store can only be mounted for writing"
            raise InvalidArgumentError("-o ro", reason, remedy="leave out ro or --create")
        from zarrfs.storage.storage import Storage

        Storage.init(kind, path=spec.source).close()
    return kind


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


def writes_archive(spec: MountSpec, kind: str) -> bool:
    """Whether a mount is of an archive that is open for writing."""
    read_only = spec.options.read_only
    return kind == "zip" and not (not spec.create if read_only is None else read_only)


def _open(
    spec: MountSpec, kind: str, keeper: Keeps | None, generation: Generation | None
) -> Backend:
    if kind == "zip":
        if writes_archive(spec, kind):
            return _open_writable_zip(spec.source, spec.options, generation)
        return _open_zip(spec.source, spec.options, generation)
    if kind == "directory":
        return _open_directory(spec.source, spec.options, keeper, generation)
    from zarrfs.storage.storage import Storage

    read_only = spec.options.read_only
    storage = Storage.open(spec.source, storage=kind, read_only=read_only)
    if read_only is False and storage.read_only:
        storage.close()
        raise ReadOnlyError(spec.source, "cannot be opened for writing", remedy="mount it -o ro")
    return storage.backend


def _open_zip(source: str, options: MountOptions, generation: Generation | None) -> Backend:
    from zarrfs.storage.zip.archive import Archive
    from zarrfs.storage.zip.backend import ZipBackend

    cache_bytes = _zip_cache_bytes(options)
    if generation is None:
        return ZipBackend.open(source, read_only=True, cache_bytes=cache_bytes)
    return ZipBackend(
        Archive.open(
            generation.path,
            cache_bytes=cache_bytes,
            size_bytes=generation.size_bytes,
            shown_as=source,
        )
    )


def _zip_cache_bytes(options: MountOptions) -> int:
    from zarrfs.storage.zip.content import DEFAULT_CACHE_BYTES

    return DEFAULT_CACHE_BYTES if options.cache_bytes is None else options.cache_bytes


def _open_writable_zip(
    source: str, options: MountOptions, generation: Generation | None
) -> Backend:
    from zarrfs.storage.zip.writable import DEFAULT_COMMIT_INTERVAL_S, WritableZip

    reached_at = None if generation is None else generation.path
    cache_bytes = _zip_cache_bytes(options)
    interval_s = DEFAULT_COMMIT_INTERVAL_S if options.commit_s is None else options.commit_s
    if options.compact_percent is None:
        return WritableZip(
            source,
            cache_bytes=cache_bytes,
            commit_interval_s=interval_s,
            reached_at=reached_at,
        )
    from zarrfs.storage.zip.compact_at_end import CompactedAtEnd

    return CompactedAtEnd(
        source,
        percent=options.compact_percent,
        cache_bytes=cache_bytes,
        commit_interval_s=interval_s,
        reached_at=reached_at,
    )


def _open_directory(
    source: str, options: MountOptions, keeper: Keeps | None, generation: Generation | None
) -> Backend:
    from zarrfs.storage.directory import DirectoryBackend
    from zarrfs.storage.directory.survival import Survival

    path = source if generation is None else generation.path
    read_only = options.read_only
    if read_only is None:
        read_only = not os.access(path, os.W_OK)
    backend = DirectoryBackend(
        path,
        read_only=read_only,
        follow_symlinks=options.follow_symlinks,
        location=source,
    )
    if keeper is not None:
        backend.file_tree().survive(Survival(keeper))
    return backend


def _kind_of(spec: MountSpec) -> str:
    from zarrfs.storage import registry

    if spec.kind is not None:
        return registry.canonical_name(spec.kind)
    if spec.create and not os.path.lexists(spec.source):
        archive = spec.source.endswith((".zip", ".ozx"))
        return "zip" if archive else "directory"
    return registry.canonical_name(registry.infer(spec.source))
