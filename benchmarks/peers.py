"""The file systems that are compared, each mounted for the length of a block.

Nothing here touches a mounted path: whether a mount stands is asked of the kernel's
table, and a mount that does not end is aborted and detached.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
ZARRFS = Path(sys.executable).parent / "zarrfs"
RATARMOUNT = ROOT / ".clients/ratarmount/bin/ratarmount"
LIMIT_S = 120.0


@dataclass(frozen=True, slots=True)
class Peer:
    """How to mount a source: the command's words, SOURCE and TARGET to be replaced."""

    name: str
    command: tuple[str, ...]

    @property
    def here(self) -> bool:
        return not self.command or shutil.which(self.command[0]) is not None


EXT4 = Peer("ext4", ())
BINDFS = Peer("bindfs", ("bindfs", "SOURCE", "TARGET"))
FUSE_ZIP = Peer("fuse-zip", ("fuse-zip", "-r", "SOURCE", "TARGET"))
FUSE_ZIP_RW = Peer("fuse-zip", ("fuse-zip", "SOURCE", "TARGET"))
RATAR = Peer("ratarmount", (str(RATARMOUNT), "--index-file", ":memory:", "SOURCE", "TARGET"))


def zarrfs(name: str, options: str, *more: str) -> Peer:
    return Peer(f"zarrfs {name}", (str(ZARRFS), "mount", "SOURCE", "TARGET", "-o", options, *more))


ZIP_RO = zarrfs("zip", "ro")
ZIP_RO_UNINDEXED = zarrfs("zip, no saved index", "ro")
DIRECTORY_RO = zarrfs("directory", "ro")
DIRECTORY_RW = zarrfs("directory", "rw")
MEMORY_RW = zarrfs("memory", "rw")
ZIP_NEW = zarrfs("zip", "rw", "--create")
ZIP_RW = zarrfs("zip", "rw")


def is_mounted(target: Path) -> int | None:
    """Return the device's minor number of what is mounted at a target."""
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        fields = line.split(b" ")
        if fields[4] == os.fsencode(target):
            return int(fields[2].partition(b":")[2])
    return None


def start(peer: Peer, source: Path | str, target: Path) -> float:
    """Mount, and return the seconds from the command's start to the mount's presence."""
    words = {"SOURCE": str(source), "TARGET": str(target)}
    command = [words.get(word, word) for word in peer.command]
    started = time.perf_counter()
    with open(os.devnull, "r+b") as null:
        subprocess.run(
            command, stdin=null, stdout=null, stderr=subprocess.PIPE, timeout=LIMIT_S, check=True
        )
    while is_mounted(target) is None:
        if time.perf_counter() - started > LIMIT_S:
            raise TimeoutError(f"{peer.name} did not mount {source}")
        time.sleep(0.005)
    return time.perf_counter() - started


def stop(peer: Peer, target: Path) -> float:
    """Unmount, wait for all to be written, and return the seconds it took."""
    started = time.perf_counter()
    command = ["fusermount3", "-u", str(target)]
    if peer.name.startswith("zarrfs"):
        command = [str(ZARRFS), "unmount", str(target)]
    try:
        subprocess.run(command, capture_output=True, timeout=LIMIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        pass
    taken = time.perf_counter() - started
    if (minor := is_mounted(target)) is not None:
        subprocess.run(["umount", "-l", str(target)], capture_output=True, check=False)
        abort = Path(f"/sys/fs/fuse/connections/{minor}/abort")
        if abort.exists():
            abort.write_text("1")
    return taken


@contextmanager
def mounted(peer: Peer, source: Path | str, target: Path) -> Iterator[Path]:
    """Mount a source, or give back the source itself for ext4."""
    if not peer.command:
        yield Path(source)
        return
    target.mkdir(parents=True, exist_ok=True)
    start(peer, source, target)
    try:
        yield target
    finally:
        stop(peer, target)
