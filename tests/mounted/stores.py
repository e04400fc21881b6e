"""Mounts for tests: each is served by a process of its own and gone at the end.

Nothing here touches a mount from the process that serves it. A mount that hangs
is aborted by the guard in `tests/conftest.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.commands import mounted

FRONTENDS = ("native", "fusepy")
WRITABLE = ("memory", "directory", "zip")


def options_for(frontend: str, *more: str) -> list[str]:
    others = ["allow_other"] if os.geteuid() == 0 else []
    return ["-o", ",".join([f"frontend={frontend}", *others, *more])]


@contextmanager
def mounted_store(backend: str, frontend: str, folder: Path, *options: str) -> Iterator[Path]:
    """Mount an empty, writable store of a backend; `folder` holds source and target."""
    target = folder / "mount"
    arguments = options_for(frontend, *options)
    if backend == "memory":
        source: str | Path = "memory:"
    elif backend == "directory":
        source = folder / "source"
        source.mkdir(exist_ok=True)
    else:
        source = folder / "source.zip"
        arguments = ["--create", *options_for(frontend, "rw", *options)]
    with mounted(source, target, *arguments) as path:
        yield path
