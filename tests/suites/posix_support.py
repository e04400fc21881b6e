"""What the parts of the POSIX suite share."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

DEADLINE_S = 60.0


@dataclass(frozen=True)
class Abilities:
    """What a backend can express. What it cannot answers EPERM or EOPNOTSUPP."""

    hard_links: bool = True
    symlinks: bool = True
    special_files: bool = True
    owners: bool = True
    xattrs: bool = True
    exchange: bool = True
    nodes: bool = True
    """Files are known by node. libfuse knows them by path: two names of one file
    have a cache each, and stat of what has no name left fails with ESTALE."""
    other_users: bool = True
    """The mount lets others than its owner in (allow_other, as root)."""


@contextmanager
def opened(path: Path, flags: int, mode: int = 0o644) -> Iterator[int]:
    fd = os.open(path, flags, mode)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def raises_errno(*expected: int) -> Iterator[None]:
    with pytest.raises(OSError) as caught:
        yield
    assert caught.value.errno in expected, caught.value


def wait_past(folder: Path, time_ns: int) -> None:
    """Wait until the file system's clock shows a later time than `time_ns`."""
    probe = folder / ".clock"
    deadline = time.monotonic() + DEADLINE_S
    while True:
        probe.write_bytes(b"tick")
        passed = probe.stat().st_mtime_ns > time_ns
        os.unlink(probe)
        if passed:
            return
        assert time.monotonic() < deadline
        time.sleep(0.002)
