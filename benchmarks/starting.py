"""How soon a mount answers, what a million entries cost, what an idle mount uses."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import material
from benchmarks.figures import Aim, Figures
from benchmarks.peers import FUSE_ZIP, RATAR, ZIP_RO, Peer, start, stop
from benchmarks.running import cpu_s, peak_memory_mib, run, server_of

READY = "mount of a small zip until it answers"
IDLE_CPU = "processor time of an idle mount in 5 s"
FIRST = "1,000,000 entries: command to first stat, first time"
AGAIN = "1,000,000 entries: command to first stat, saved index"
MEMORY = "1,000,000 entries: peak memory of the server"
NAMES = "1,000,000 entries: ls -f"
AIMS = [
    Aim(READY, "zarrfs zip", None, 0.5),
    Aim(IDLE_CPU, "zarrfs zip", None, 0.0),
    Aim(FIRST, "zarrfs zip", None, 1.5),
    Aim(AGAIN, "zarrfs zip", None, 0.6),
    Aim(MEMORY, "zarrfs zip", None, 250),
    Aim(NAMES, "zarrfs zip", None, 1.0),
]
IDLE_S = 5.0


@contextmanager
def own_cache(folder: Path) -> Iterator[None]:
    """Keep saved indexes in a folder of ours, so that the first time is one."""
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["XDG_CACHE_HOME"]
        else:
            os.environ["XDG_CACHE_HOME"] = before


def first_stat(peer: Peer, archive: Path, target: Path, name: str) -> float:
    """Mount and stat a name; return the seconds from the command's start."""
    started = time.perf_counter()
    start(peer, archive, target)
    subprocess.run(["stat", "-c", "%s", str(target / name)], capture_output=True, timeout=60,
                   check=True)  # fmt: skip
    return time.perf_counter() - started


def measure(figures: Figures, base: Path, rounds: int, scale: float) -> None:
    target = base / "mnt"
    target.mkdir(exist_ok=True)
    small = material.small_files(base, 100).archive
    for _ in range(rounds):
        figures.add(READY, ZIP_RO.name, first_stat(ZIP_RO, small, target, "7.0"))
        pid = server_of(target, small)
        if pid is not None:
            before = cpu_s(pid)
            time.sleep(IDLE_S)
            figures.add(IDLE_CPU, ZIP_RO.name, cpu_s(pid) - before)
        stop(ZIP_RO, target)
    count = int(1_000_000 * min(scale, 1))
    if count != 1_000_000:
        figures.note(f"'1,000,000 entries' are {count}")
    archive = material.many_entries(base, count)
    archive.read_bytes()
    for number in range(rounds):
        with own_cache(base / f"cache-{number}"):
            for figure in (FIRST, AGAIN):
                many(figures, ZIP_RO, archive, target, figure)
        for peer in (FUSE_ZIP, RATAR):
            if peer.here and number == 0:
                many(figures, peer, archive, target, FIRST)


def many(figures: Figures, peer: Peer, archive: Path, target: Path, figure: str) -> None:
    figures.add(figure, peer.name, first_stat(peer, archive, target, "a/77.0"))
    try:
        if figure == FIRST:
            figures.add(NAMES, peer.name, list_unsorted(target / "a"))
            pid = server_of(target, archive)
            if pid is not None:
                figures.add(MEMORY, peer.name, peak_memory_mib(pid), "MiB")
            run("list_names", target)
    finally:
        stop(peer, target)


def list_unsorted(folder: Path) -> float:
    started = time.perf_counter()
    subprocess.run(["ls", "-f", str(folder)], stdout=subprocess.DEVNULL, timeout=120, check=True)
    return time.perf_counter() - started
