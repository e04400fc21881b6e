"""Descriptors that outlive a worker, and perhaps the supervisor.

Owns them by name: `fuse` is the mount's connection, `record` a memfd with what
was negotiated, the others are what the worker gave into keeping (an archive's
descriptor, a journal, a node table). Each is put into a store outside this
process as well, the service manager's or `own_store`'s, as `MOUNT/NAME#NUMBER`,
so that the next supervisor finds the mounts alive. One that takes another's
place has a higher number and is stored before the other is removed: whenever
this process is killed, one of them is there. Used by the supervisor's thread
alone.
"""

from __future__ import annotations

import json
import os
import select
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

FUSE: Final = "fuse"
RECORD: Final = "record"
ALIVE: Final = "alive"
"""The memfd that a worker locks for as long as it lives; see `predecessor`."""


class DescriptorStore(Protocol):
    """Where descriptors lie that outlive this process: `Notifier`, `OwnStore`."""

    def store(self, name: str, descriptor: int) -> bool:
        """Keep a copy of a descriptor; False where that cannot be."""

    def remove(self, name: str) -> bool: ...


class StoredName(NamedTuple):
    """A descriptor's name in a store."""

    mount: str
    name: str
    number: int

    def __str__(self) -> str:
        return f"{self.mount}/{self.name}#{self.number}"

    @classmethod
    def parse(cls, text: str) -> StoredName | None:
        """Return the parts of a name; None when it is not one of ours."""
        mount, slash, numbered = text.partition("/")
        name, hash_sign, digits = numbered.rpartition("#")
        if not (slash and name and hash_sign and digits.isdecimal()):
            return None
        return cls(mount, name, int(digits))


@dataclass(slots=True)
class Kept:
    """What is kept for one mount."""

    mount: str
    store: DescriptorStore
    descriptors: dict[str, int] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    """Under which number each is in the store."""

    def put(self, name: str, descriptor: int) -> None:
        """Take a descriptor over, in place of one of that name."""
        number = self.numbers.get(name, -1)
        former = self.descriptors.get(name)
        self.descriptors[name], self.numbers[name] = descriptor, number + 1
        self.store.store(self._stored_name(name, number + 1), descriptor)
        if former is not None:
            self.store.remove(self._stored_name(name, number))
            os.close(former)

    def drop(self, names: Iterable[str]) -> None:
        for name in names:
            if (descriptor := self.descriptors.pop(name, None)) is not None:
                self.store.remove(self._stored_name(name, self.numbers[name]))
                os.close(descriptor)

    def _stored_name(self, name: str, number: int) -> str:
        return str(StoredName(self.mount, name, number))

    def stored(self) -> list[tuple[str, int]]:
        """Return everything with its name in a store."""
        return [
            (self._stored_name(name, self.numbers[name]), descriptor)
            for name, descriptor in self.descriptors.items()
        ]

    def store_again(self) -> None:
        """Put everything into the store, which has lost it."""
        for stored_name, descriptor in self.stored():
            self.store.store(stored_name, descriptor)

    def clear(self) -> None:
        self.drop(list(self.descriptors))

    def release(self) -> None:
        """Close our copies; those in the store stay there."""
        for descriptor in self.descriptors.values():
            os.close(descriptor)
        self.descriptors.clear()

    @property
    def fuse(self) -> int | None:
        return self.descriptors.get(FUSE)

    @property
    def is_gone(self) -> bool:
        """Whether the mount was taken down."""
        return self.fuse is not None and is_unmounted(self.fuse)

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Keep plain values in a memfd: a line of JSON each time, the last one counts.

        It is never replaced, because at no moment may there be none.
        """
        if RECORD not in self.descriptors:
            self.put(RECORD, os.memfd_create(f"zarrfs-{self.mount}", os.MFD_CLOEXEC))
        descriptor = self.descriptors[RECORD]
        os.pwrite(descriptor, json.dumps(record).encode() + b"\n", os.fstat(descriptor).st_size)

    def read_record(self) -> dict[str, Any]:
        """Return what `write_record` kept; empty where there is nothing readable."""
        descriptor = self.descriptors.get(RECORD)
        if descriptor is None:
            return {}
        try:
            lines = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
            record = json.loads(lines.rpartition(b"\n")[0].rpartition(b"\n")[2])
        except (OSError, ValueError):
            return {}
        return record if isinstance(record, dict) else {}


def is_unmounted(connection: int) -> bool:
    """Whether a mount was taken down: the kernel then reports POLLERR for its descriptor."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return any(events & (select.POLLERR | select.POLLNVAL) for _, events in poll.poll(0))


def sort_by_mount(stored: Iterable[tuple[str, int]], store: DescriptorStore) -> dict[str, Kept]:
    """Group the descriptors that a store handed over by mount.

    What bears no name of ours is closed.
    """
    found: dict[str, Kept] = {}
    for stored_name, descriptor in stored:
        parsed = StoredName.parse(stored_name)
        if parsed is None:
            os.close(descriptor)
            continue
        mount, name, number = parsed
        kept = found.setdefault(mount, Kept(mount, store))
        other = kept.numbers.get(name, -1)
        if number < other:  # its successor was stored, and then we were killed
            store.remove(stored_name)
            os.close(descriptor)
            continue
        if (former := kept.descriptors.get(name)) is not None:
            store.remove(str(StoredName(mount, name, other)))
            os.close(former)
        kept.descriptors[name], kept.numbers[name] = descriptor, number
    return found
