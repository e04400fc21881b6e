"""What a storage backend is: bytes by key, and the abilities it may add.

A *key* is a relative path of `/`-separated names without a leading slash, as
the Zarr specifications use it (v3 core, "Stores"); bytes that are not UTF-8
are carried by surrogate escapes (`os.fsdecode`). A *prefix* is a key that
names a folder, or `""` for the root; it carries no trailing slash here.

Abilities beyond `Backend` are separate protocols, found with `isinstance`.
All methods may be called from several threads at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple, NewType, Protocol, TypeAlias, runtime_checkable

from zarrfs.storage.tree import FileTree

Key = NewType("Key", str)
Buffer: TypeAlias = bytes | bytearray | memoryview
"""Contiguous bytes (format `B`); a memoryview may be read-only and zero-copy."""


class Listed(NamedTuple):
    """One child of a prefix."""

    name: str
    is_prefix: bool


class KeyStat(NamedTuple):
    """What is known of a key's value without reading it."""

    size_bytes: int
    mtime_ns: int
    """Nanoseconds since the epoch; it changes whenever the value does."""


@runtime_checkable
class Backend(Protocol):
    """Stores bytes by key.

    A value is replaced whole and at once: a reader sees the old value or the
    new one, never a mixture.
    """

    @property
    def kind(self) -> str:
        """The registered name, such as `"zip"`."""

    @property
    def location(self) -> str:
        """What to call this store in messages: its path, or `"memory"`."""

    @property
    def read_only(self) -> bool: ...

    @property
    def static(self) -> bool:
        """Whether the content can never change while this object is open."""

    def get(self, key: Key, start: int = 0, stop: int | None = None) -> Buffer:
        """Return bytes `[start, stop)` of a value, cut at its end.

        Raises: KeyNotFoundError, CorruptError, UnavailableError.
        """

    def stat(self, key: Key) -> KeyStat:
        """Raises: KeyNotFoundError (also for a prefix)."""

    def set(self, key: Key, data: Buffer) -> None:
        """Store a value, making the prefixes above it.

        Raises: ReadOnlyError, InvalidNameError, NotAFolderError (a prefix of
        the key is itself a value), IsAFolderError, NoSpaceError.
        """

    def delete(self, key: Key) -> None:
        """Remove a value and the prefixes that it leaves without children.

        Raises: KeyNotFoundError, ReadOnlyError.
        """

    def list_dir(self, prefix: Key) -> Iterator[Listed]:
        """Yield the direct children of a prefix, in any order; none if absent."""

    def list_keys(self, prefix: Key) -> Iterator[Key]:
        """Yield every key below a prefix (full keys), in any order."""

    def flush(self) -> None:
        """Make everything that was set durable and visible to other programs."""

    def close(self) -> None:
        """Flush, then let go of all resources; a second call does nothing."""


@runtime_checkable
class HasFileTree(Protocol):
    """A backend that can itself be walked, and perhaps changed, as files.

    Without it, `zarrfs.vfs.key_tree` makes a tree out of `Backend` alone.
    """

    def file_tree(self) -> FileTree:
        """Return the tree; the same truth as the backend's keys, at once."""


@runtime_checkable
class LeavesOut(Protocol):
    """A backend that does not show all that its store holds, such as a view."""

    def left_out(self, prefix: Key) -> Mapping[str, str]:
        """Return what a prefix would hold besides, by name, and why it does not."""


class CacheStats(NamedTuple):
    """What a cache of decoded content did so far."""

    hits: int
    misses: int
    held_bytes: int


@runtime_checkable
class Caches(Protocol):
    """A backend that keeps decoded content in memory."""

    def cache_stats(self) -> CacheStats: ...


@runtime_checkable
class WritesLater(Protocol):
    """A backend whose changes are durable before other programs see them."""

    def pending_bytes(self) -> int:
        """Return how much waits for the next `flush`; 0 when nothing does."""


@runtime_checkable
class HandsOver(Protocol):
    """A backend whose open files a successor might not find again by their names."""

    def hand_over(self) -> None:
        """Leave the successor what it needs for those that are open now."""
