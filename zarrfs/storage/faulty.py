"""A backend that fails, dawdles or truncates on demand: for tests.

`FaultyBackend` passes everything on to another backend, except where one of its
`Fault`s matches. It has no abilities beyond `Backend`, so that nothing can go
round it. All methods may be called from several threads at once; a fault with a
count strikes exactly that often.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from zarrfs.storage.backend import Backend, Buffer, Key, KeyStat, Listed

Operation: TypeAlias = Literal[
    "get", "stat", "set", "delete", "list_dir", "list_keys", "flush", "close"
]


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong, where, and how often.

    One fault may delay and then fail. For `flush` and `close` the key is `""`.
    """

    keys: str = ".*"
    """A regular expression that must match a whole key or prefix."""
    operations: frozenset[Operation] = frozenset(("get",))
    error: Exception | type[Exception] | None = None
    """Raised before the operation is passed on."""
    delay_s: float = 0.0
    wait_for: threading.Event | None = None
    """The operation waits until this is set: a delay without a clock."""
    truncate_to: int | None = None
    """`get` returns, and `set` stores, no more than the value's first bytes."""
    skip: int = 0
    """How many matching operations are spared at first."""
    times: int | None = None
    """How many are struck then; None is all."""


class FaultyBackend:
    """Another backend with faults in it. `faults` may be added while it is in use."""

    def __init__(self, inner: Backend, *faults: Fault) -> None:
        self.inner = inner
        self._lock = threading.Lock()
        self._faults = [_Armed(fault) for fault in faults]
        """Guarded by: `_lock`, the counts too."""
        self.struck: list[tuple[Operation, str]] = []
        """Every operation that met a fault, in order. Guarded by: `_lock`."""

    def add(self, *faults: Fault) -> None:
        with self._lock:
            self._faults += [_Armed(fault) for fault in faults]

    def clear(self) -> None:
        """Take all faults out: the backend works again."""
        with self._lock:
            self._faults.clear()

    @property
    def kind(self) -> str:
        return self.inner.kind

    @property
    def location(self) -> str:
        return self.inner.location

    @property
    def read_only(self) -> bool:
        return self.inner.read_only

    @property
    def static(self) -> bool:
        return False

    def get(self, key: Key, start: int = 0, stop: int | None = None) -> Buffer:
        limit = self._strike("get", key)
        if limit is not None:
            stop = limit if stop is None else min(stop, limit)
        return self.inner.get(key, min(start, stop) if stop is not None else start, stop)

    def stat(self, key: Key) -> KeyStat:
        self._strike("stat", key)
        return self.inner.stat(key)

    def set(self, key: Key, data: Buffer) -> None:
        limit = self._strike("set", key)
        self.inner.set(key, data if limit is None else data[:limit])

    def delete(self, key: Key) -> None:
        self._strike("delete", key)
        self.inner.delete(key)

    def list_dir(self, prefix: Key) -> Iterator[Listed]:
        self._strike("list_dir", prefix)
        return self.inner.list_dir(prefix)

    def list_keys(self, prefix: Key) -> Iterator[Key]:
        self._strike("list_keys", prefix)
        return self.inner.list_keys(prefix)

    def flush(self) -> None:
        self._strike("flush", "")
        self.inner.flush()

    def close(self) -> None:
        self._strike("close", "")
        self.inner.close()

    def _strike(self, operation: Operation, key: str) -> int | None:
        """Delay, raise, or return how many bytes may pass."""
        with self._lock:
            faults = [armed.fault for armed in self._faults if armed.strikes(operation, key)]
            if faults:
                self.struck.append((operation, key))
        for fault in faults:
            if fault.delay_s:
                time.sleep(fault.delay_s)
            if fault.wait_for is not None:
                fault.wait_for.wait()
            if fault.error is not None:
                raise fault.error
        return _smallest(fault.truncate_to for fault in faults)


class _Armed:
    """A fault and how often its operations were seen."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self._keys = re.compile(fault.keys, re.DOTALL)
        self._seen = 0

    def strikes(self, operation: Operation, key: str) -> bool:
        fault = self.fault
        if operation not in fault.operations or not self._keys.fullmatch(key):
            return False
        self._seen += 1
        if self._seen <= fault.skip:
            return False
        return fault.times is None or self._seen <= fault.skip + fault.times


def _smallest(limits: Iterable[int | None]) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)
