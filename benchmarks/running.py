"""Runs one operation in a process of its own, with a time limit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

OPERATIONS = Path(__file__).with_name("operations.py")
LIMIT_S = 300.0


def run(operation: str, *arguments: object) -> float:
    """Return the seconds that an operation of `operations.py` took."""
    done = subprocess.run(
        [sys.executable, str(OPERATIONS), operation, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=LIMIT_S,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{operation} {arguments}: {done.stderr.decode()[-800:]}")
    return float(json.loads(done.stdout))


def server_of(target: Path, source: Path | str) -> int | None:
    """Return the pid of the zarrfs process whose command line names a target, or None."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if os.fsencode(target) in words and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return max(found, default=None)


def peak_memory_mib(pid: int) -> float:
    """Return the largest resident size a process ever had (VmHWM)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def cpu_s(pid: int) -> float:
    """Return the processor time a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
