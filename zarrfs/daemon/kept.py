"""Descriptors that outlive a worker, and perhaps the supervisor.

Owns them by name: `fuse` is the mount's connection, `record` a memfd with what
was negotiated, the others are what the worker gave into keeping (an archive's
descriptor, a journal, a node table). Where a service manager offers its
descriptor store, each is put there as well, as `MOUNT/NAME#NUMBER`, so that the
next start of the service finds the mounts alive. One that takes another's place
has a higher number and is stored before the other is removed: whenever this
process is killed, one of them is there. Used by the supervisor's thread alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from zarrfs.daemon.notify import Notifier

FUSE: Final = "fuse"
RECORD: Final = "record"


@dataclass(slots=True)
class Kept:
    """What is kept for one mount."""

    mount: str
    notifier: Notifier
    descriptors: dict[str, int] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    """Under which number each is in the service manager's store."""

    def put(self, name: str, descriptor: int) -> None:
        """Take a descriptor over, in place of one of that name."""
        number = self.numbers.get(name, -1)
        former = self.descriptors.get(name)
        self.descriptors[name], self.numbers[name] = descriptor, number + 1
        self.notifier.store(self._stored_name(name, number + 1), descriptor)
        if former is not None:
            self.notifier.remove(self._stored_name(name, number))
            os.close(former)

    def drop(self, names: Iterable[str]) -> None:
        for name in names:
            if (descriptor := self.descriptors.pop(name, None)) is not None:
                self.notifier.remove(self._stored_name(name, self.numbers[name]))
                os.close(descriptor)

    def _stored_name(self, name: str, number: int) -> str:
        return f"{self.mount}/{name}#{number}"

    def clear(self) -> None:
        self.drop(list(self.descriptors))

    def release(self) -> None:
        """Close our copies; the service manager's stay in its store."""
        for descriptor in self.descriptors.values():
            os.close(descriptor)
        self.descriptors.clear()

    @property
    def fuse(self) -> int | None:
        return self.descriptors.get(FUSE)

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


def sort_by_mount(stored: Iterable[tuple[str, int]], notifier: Notifier) -> dict[str, Kept]:
    """Group the descriptors a service manager handed over by mount.

    What bears no name of ours is closed.
    """
    found: dict[str, Kept] = {}
    for stored_name, descriptor in stored:
        mount, slash, numbered = stored_name.partition("/")
        name, hash_sign, digits = numbered.rpartition("#")
        if not (slash and name and hash_sign and digits.isdecimal()):
            os.close(descriptor)
            continue
        kept = found.setdefault(mount, Kept(mount, notifier))
        number, other = int(digits), kept.numbers.get(name, -1)
        if number < other:  # its successor was stored, and then we were killed
            notifier.remove(stored_name)
            os.close(descriptor)
            continue
        if (former := kept.descriptors.get(name)) is not None:
            notifier.remove(f"{mount}/{name}#{other}")
            os.close(former)
        kept.descriptors[name], kept.numbers[name] = descriptor, number
    return found
