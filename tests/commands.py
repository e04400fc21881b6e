"""Run `zarrfs` as a user does, with time limits, and mounts that end with their block."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.mount_table import fuse_mounts_below, remove

ZARRFS = Path(sys.executable).parent / "zarrfs"
LIMIT_S = 60.0


def zarrfs(*arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(ZARRFS), *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    if check and done.returncode != 0:
        raise AssertionError(
            f"zarrfs {' '.join(map(str, arguments))} ended with {done.returncode}:\n"
            f"{done.stdout}{done.stderr}"
        )
    return done


@contextmanager
def mounted(source: str | Path, target: Path, *arguments: str) -> Iterator[Path]:
    """Mount a source with `zarrfs mount`, making the target; unmount it afterwards."""
    target.mkdir(parents=True, exist_ok=True)
    zarrfs("mount", source, target, *arguments)
    try:
        yield target
        zarrfs("unmount", target)
    finally:
        for mount in fuse_mounts_below(target.parent):
            if mount.target == target:
                remove(mount)
