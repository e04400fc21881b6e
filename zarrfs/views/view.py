"""`View`: a read-only backend over another backend.

Owns what all views share: identity, refusal to write, closing, and the walk
over keys. What a view shows is its subclass's business (`get`, `stat`,
`list_dir`). All methods may be called from several threads at once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol, runtime_checkable

from zarrfs.errors import ReadOnlyError
from zarrfs.storage.backend import Backend, Buffer, Key, KeyStat, LeavesOut, Listed
from zarrfs.zarr_format.keys import join_key

ROOT_PREFIX = Key("")


class Hidden(NamedTuple):
    """An array or group that a view cannot show, and why."""

    path: str
    reason: str


@runtime_checkable
class HidesNodes(Protocol):
    """A view that may leave something out."""

    def hidden(self, prefix: Key = ROOT_PREFIX) -> Iterator[Hidden]:
        """Yield what is left out at and below a prefix, views beneath included."""


class View(ABC):
    """A read-only backend over another, which it closes with itself."""

    name = "view"

    def __init__(self, source: Backend) -> None:
        self.source = source

    @property
    def kind(self) -> str:
        return self.source.kind

    @property
    def location(self) -> str:
        return self.source.location

    @property
    def read_only(self) -> bool:
        return True

    @property
    def static(self) -> bool:
        return self.source.static

    @abstractmethod
    def get(self, key: Key, start: int = 0, stop: int | None = None) -> Buffer: ...

    @abstractmethod
    def stat(self, key: Key) -> KeyStat: ...

    @abstractmethod
    def list_dir(self, prefix: Key) -> Iterator[Listed]: ...

    def list_keys(self, prefix: Key) -> Iterator[Key]:
        for name, is_prefix in self.list_dir(prefix):
            key = Key(join_key(prefix, name))
            if is_prefix:
                yield from self.list_keys(key)
            else:
                yield key

    def set(self, key: Key, data: Buffer) -> None:
        raise ReadOnlyError(key, f"the view {self.name} cannot be written through")

    def delete(self, key: Key) -> None:
        raise ReadOnlyError(key, f"the view {self.name} cannot be written through")

    def flush(self) -> None:
        if not self.source.read_only:
            self.source.flush()

    def close(self) -> None:
        self.source.close()

    def hidden(self, prefix: Key = ROOT_PREFIX) -> Iterator[Hidden]:
        if isinstance(self.source, HidesNodes):
            yield from self.source.hidden(prefix)

    def left_out(self, prefix: Key) -> Mapping[str, str]:
        return self.source.left_out(prefix) if isinstance(self.source, LeavesOut) else {}


def is_empty(view: View, prefix: str) -> bool:
    """Whether a view shows nothing below a prefix of its source: then it has no such prefix."""
    return next(view.list_dir(Key(prefix)), None) is None
