"""Any `zarr.abc.store.Store` as a backend: remote stores, Icechunk, anything zarr opens.

Needs the extra `zarr`, and imports it when the first backend is made. A store's
coroutines run on zarr's own event loop, since a store that zarr has used before
may be bound to it. All methods may be called from several threads at once, but
not from that loop.

What a `Store` cannot tell is made up here: values carry the time at which this
object first met them or last saw their size change, so that changes of the same
size made by others are not noticed.

Source: zarr-python 3, `zarr.abc.store`.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, Final, TypeVar

from zarrfs.errors import (
    DeniedError,
    InvalidNameError,
    IsAFolderError,
    KeyNotFoundError,
    NameTooLongError,
    NotAFolderError,
    ReadOnlyError,
    UnavailableError,
    UnsupportedError,
    ZarrfsError,
)
from zarrfs.storage.backend import Buffer, Key, KeyStat, Listed
from zarrfs.zarr_format.keys import check_key, join_key, split_key

T = TypeVar("T")

_CONCURRENT_LOOKUPS: Final = 64
ZarrStore = Any
"""A `zarr.abc.store.Store`; zarr is optional, its types are not known here."""


class ZarrStoreBackend:
    """The values of a Zarr store, by key."""

    def __init__(self, store: ZarrStore) -> None:
        try:
            from zarr.core.sync import sync
        except ImportError as error:
            raise UnsupportedError(
                "zarr", "zarr-python 3 is not installed", remedy="pip install 'zarrfs[zarr]'"
            ) from error
        self._store = store
        self._sync = sync
        self._lock = threading.Lock()
        self._seen: dict[str, KeyStat] = {}
        """Guarded by: `_lock`."""
        self._closed = False

    @property
    def kind(self) -> str:
        return "zarr-store"

    @property
    def location(self) -> str:
        return str(self._store)

    @property
    def read_only(self) -> bool:
        return bool(self._store.read_only)

    @property
    def static(self) -> bool:
        return False

    def get(self, key: Key, start: int = 0, stop: int | None = None) -> Buffer:
        """As `Backend.get`."""
        _check_readable(key)
        if stop is not None and stop <= start:
            self._size(key)  # whether it is there at all
            return b""
        return self._run(key, self._get(key, start, stop))

    def stat(self, key: Key) -> KeyStat:
        """As `Backend.stat`; the time is this object's, not the store's."""
        _check_readable(key)
        size = self._size(key)
        with self._lock:
            seen = self._seen.get(key)
            if seen is None or seen.size_bytes != size:
                seen = self._seen[key] = KeyStat(size, time.time_ns())
            return seen

    def set(self, key: Key, data: Buffer) -> None:
        """As `Backend.set`."""
        self._check_writable()
        check_key(key)
        value = bytes(data)
        self._run(key, self._set(key, value))
        with self._lock:
            self._seen[key] = KeyStat(len(value), time.time_ns())

    def delete(self, key: Key) -> None:
        """As `Backend.delete`."""
        self._check_writable()
        if not self._store.supports_deletes:
            raise UnsupportedError(self.location, "this store cannot delete")
        _check_readable(key)
        self._run(key, self._delete(key))
        with self._lock:
            self._seen.pop(key, None)

    def list_dir(self, prefix: Key) -> Iterator[Listed]:
        """As `Backend.list_dir`."""
        if prefix and not _is_key(prefix):
            return iter(())
        return iter(self._run(prefix, self._list_dir(prefix)))

    def list_keys(self, prefix: Key) -> Iterator[Key]:
        """As `Backend.list_keys`."""
        if prefix and not _is_key(prefix):
            return iter(())
        listing = self._store.list_prefix(f"{prefix}/") if prefix else self._store.list()
        return map(Key, self._run(prefix, _collect(listing)))

    def flush(self) -> None:
        """Nothing to do: a store's `set` is as durable as the store makes it."""

    def close(self) -> None:
        """As `Backend.close`; the store itself is closed too."""
        if not self._closed:
            self._closed = True
            self._store.close()

    async def _get(self, key: str, start: int, stop: int | None) -> bytes:
        from zarr.abc.store import OffsetByteRequest, RangeByteRequest
        from zarr.core.buffer import default_buffer_prototype

        request = None
        if stop is not None:
            request = RangeByteRequest(start, stop)
        elif start:
            request = OffsetByteRequest(start)
        value = await self._store.get(key, default_buffer_prototype(), request)
        if value is None:
            raise KeyNotFoundError(key)
        return bytes(value.to_bytes())

    def _size(self, key: str) -> int:
        return self._run(key, self._get_size(key))

    async def _get_size(self, key: str) -> int:
        if not await self._store.exists(key):
            raise KeyNotFoundError(key)
        return int(await self._store.getsize(key))

    async def _set(self, key: str, value: bytes) -> None:
        from zarr.core.buffer import default_buffer_prototype

        if not await self._store.exists(key):
            await self._check_place(key)
        await self._store.set(key, default_buffer_prototype().buffer.from_bytes(value))

    async def _check_place(self, key: str) -> None:
        """A flat store would keep both `a` and `a/b`; a file tree cannot show that."""
        async for _ in self._store.list_dir(key):
            raise IsAFolderError(key)
        above = split_key(key)[0]
        while above:
            if await self._store.exists(above):
                raise NotAFolderError(above)
            above = split_key(above)[0]

    async def _delete(self, key: str) -> None:
        if not await self._store.exists(key):
            raise KeyNotFoundError(key)
        await self._store.delete(key)
        root = getattr(self._store, "root", None)
        if isinstance(root, os.PathLike):
            _remove_empty_folders(os.fspath(root), split_key(key)[0])

    async def _list_dir(self, prefix: str) -> list[Listed]:
        import asyncio

        names = [name.rstrip("/") for name in await _collect(self._store.list_dir(prefix))]
        keys = [join_key(prefix, name) for name in names]
        listed: list[Listed] = []
        for first in range(0, len(keys), _CONCURRENT_LOOKUPS):
            some = slice(first, first + _CONCURRENT_LOOKUPS)
            are_keys = await asyncio.gather(*map(self._store.exists, keys[some]))
            listed += map(Listed, names[some], (not is_key for is_key in are_keys))
        return listed

    def _run(self, key: str, coroutine: Coroutine[object, object, T]) -> T:
        """Run on zarr's loop; what a store raises becomes an error of ours."""
        try:
            return self._sync(coroutine)  # type: ignore[no-any-return]  # zarr is untyped here
        except ZarrfsError:
            raise
        except FileNotFoundError as error:
            raise KeyNotFoundError(key) from error
        except PermissionError as error:
            raise DeniedError(key, str(error)) from error
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise NameTooLongError(key) from error
            raise UnavailableError(key, str(error)) from error
        except Exception as error:  # a store may raise anything: httpx, botocore, ...
            raise UnavailableError(key, f"{type(error).__name__}: {error}") from error

    def _check_writable(self) -> None:
        if self.read_only:
            raise ReadOnlyError(self.location)


def _check_readable(key: str) -> None:
    if not _is_key(key):
        raise KeyNotFoundError(key)


def _is_key(key: str) -> bool:
    """Some stores follow `..` out of their root: such a key is never asked for."""
    try:
        check_key(key)
    except InvalidNameError:
        return False
    return True


async def _collect(items: AsyncIterator[str]) -> list[str]:
    return [item async for item in items]


def _remove_empty_folders(root: str, prefix: str) -> None:
    """zarr's LocalStore leaves the folders of deleted keys; rmdir spares full ones."""
    while prefix:
        try:
            os.rmdir(os.path.join(root, prefix))
        except OSError:
            return
        prefix = split_key(prefix)[0]
