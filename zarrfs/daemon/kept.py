"""Descriptors that outlive a worker, and perhaps the supervisor.

Owns them by name: `fuse` is the mount's connection, `record` a memfd with what
was negotiated, the others are what the worker gave into keeping (an archive's
descriptor, a journal, a node table). Where a service manager offers its
descriptor store, each is put there as well, as `MOUNT/NAME`, so that the next
start of the service finds the mounts alive. Used by the supervisor's thread
alone.
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

    def put(self, name: str, descriptor: int) -> None:
        """Take a descriptor over, in place of one of that name."""
        self.drop([name])
        self.descriptors[name] = descriptor
        self.notifier.store(f"{self.mount}/{name}", descriptor)

    def drop(self, names: Iterable[str]) -> None:
        for name in names:
            if (descriptor := self.descriptors.pop(name, None)) is not None:
                self.notifier.remove(f"{self.mount}/{name}")
                os.close(descriptor)

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
        mount, slash, name = stored_name.partition("/")
        if not slash or not name:
            os.close(descriptor)
            continue
        kept = found.setdefault(mount, Kept(mount, notifier))
        if (former := kept.descriptors.pop(name, None)) is not None:
            os.close(former)
        kept.descriptors[name] = descriptor
    return found
