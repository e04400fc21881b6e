"""The smallest backend that keeps every promise: nested dicts under one lock.

What the backend suite was written against, and an honest backend for tests of
what lies above.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Self, TypeAlias

from zarrfs.errors import IsAFolderError, KeyNotFoundError, NotAFolderError, PathRequiredError
from zarrfs.storage.backend import Buffer, Key, KeyStat, Listed
from zarrfs.zarr_format.keys import check_key, join_key

Value: TypeAlias = tuple[bytes, int]
Folder: TypeAlias = "dict[str, Folder | Value]"


class DictBackend:
    """Values in memory; opened by a path, it is as empty as when it was made."""

    def __init__(self, location: str = "dict", content: Folder | None = None) -> None:
        self._location = location
        self._lock = threading.Lock()
        self._root: Folder = {} if content is None else content
        self._last_ns = 0

    @classmethod
    def init(cls, path: str | None) -> Self:
        if path is None:
            raise PathRequiredError("dict")
        return cls(path)

    @classmethod
    def open(cls, path: str, *, read_only: bool) -> Self:
        return cls(path)

    @classmethod
    def recognises(cls, path: str) -> bool:
        return path.startswith("dict:")

    @property
    def kind(self) -> str:
        return "dict"

    @property
    def location(self) -> str:
        return self._location

    @property
    def read_only(self) -> bool:
        return False

    @property
    def static(self) -> bool:
        return False

    def get(self, key: Key, start: int = 0, stop: int | None = None) -> Buffer:
        return self._value(key)[0][start:stop]

    def stat(self, key: Key) -> KeyStat:
        data, mtime_ns = self._value(key)
        return KeyStat(len(data), mtime_ns)

    def set(self, key: Key, data: Buffer) -> None:
        check_key(key)
        *above, name = key.split("/")
        with self._lock:
            folder = self._make_folders(above)
            if isinstance(folder.get(name), dict):
                raise IsAFolderError(key)
            self._last_ns = max(time.time_ns(), self._last_ns + 1)
            folder[name] = (bytes(data), self._last_ns)

    def delete(self, key: Key) -> None:
        self._value(key)
        *above, name = key.split("/")
        with self._lock:
            folders = [self._root]
            for part in above:
                inner = folders[-1][part]
                assert isinstance(inner, dict)
                folders.append(inner)
            del folders[-1][name]
            while above and not folders[-1]:
                folders.pop()
                del folders[-1][above.pop()]

    def list_dir(self, prefix: Key) -> Iterator[Listed]:
        with self._lock:
            node = self._find(prefix) if prefix else self._root
            items = list(node.items()) if isinstance(node, dict) else []
        return (Listed(name, isinstance(item, dict)) for name, item in items)

    def list_keys(self, prefix: Key) -> Iterator[Key]:
        for name, is_prefix in self.list_dir(prefix):
            key = Key(join_key(prefix, name))
            if is_prefix:
                yield from self.list_keys(key)
            else:
                yield key

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass

    def _find(self, key: str) -> Folder | Value | None:
        node: Folder | Value | None = self._root
        for part in key.split("/"):
            if not isinstance(node, dict):
                return None
            node = node.get(part)
        return node

    def _value(self, key: str) -> Value:
        with self._lock:
            node = self._find(key)
        if not isinstance(node, tuple):
            raise KeyNotFoundError(key)
        return node

    def _make_folders(self, names: list[str]) -> Folder:
        folder = self._root
        for depth, name in enumerate(names):
            inner = folder.setdefault(name, {})
            if not isinstance(inner, dict):
                raise NotAFolderError("/".join(names[: depth + 1]))
            folder = inner
        return folder
