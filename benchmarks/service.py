"""`zarrfs serve` with many mounts: start, idle memory, a reload that changes one, a kill.

usage: python -m benchmarks.service [--mounts N]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.figures import machine
from zarrfs.daemon.control import ask
from zarrfs.errors import UnavailableError

LIMIT_S = 120.0


def mounts(socket: Path) -> dict[str, dict[str, Any]]:
    try:
        return {mount["name"]: mount for mount in ask(str(socket), "status")["mounts"]}
    except UnavailableError:
        return {}


def wait(true: Callable[[], bool]) -> float:
    """Wait for a condition; return the seconds that took."""
    began_s = time.monotonic()
    while not true():
        if time.monotonic() - began_s > LIMIT_S:
            raise TimeoutError
        time.sleep(0.01)
    return time.monotonic() - began_s


def memory_kib(pid: int, what: str) -> int:
    """Return Rss or Pss. Source: /proc/PID/smaps_rollup in proc(5)."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return int(next(line for line in rollup if line.startswith(f"{what}:")).split()[1])


def write_config(folder: Path, count: int, *, threads_of_last: int = 4) -> None:
    rows = [
        f"  - {{name: m{n}, source: a.zip, target: m{n}, mkdir: true,"
        f" threads: {threads_of_last if n == count - 1 else 4}}}"
        for n in range(count)
    ]
    (folder / "zarrfs.yaml").write_text("mounts:\n" + "\n".join(rows) + "\n")


def measure(folder: Path, count: int) -> dict[str, float]:
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.writestr("c/0", bytes(65_536))
    write_config(folder, count)
    command = [sys.executable, "-m", "zarrfs.cli", "serve", "--config", str(folder / "zarrfs.yaml")]
    environment = {**os.environ, "RUNTIME_DIRECTORY": str(folder / "run")}
    with (folder / "log").open("w") as log:
        service = subprocess.Popen(command, env=environment, stderr=log)
    socket = folder / "run" / f"{service.pid}.sock"

    def all_serve() -> bool:
        states = [mount["state"] for mount in mounts(socket).values()]
        return states == ["serving"] * count

    figures = {"start, s": wait(all_serve)}
    try:
        before = {name: mount["pid"] for name, mount in mounts(socket).items()}
        for what in ("Rss", "Pss"):
            sizes = [memory_kib(pid, what) / 1024 for pid in before.values()]
            figures[f"idle worker, {what}, median MiB"] = statistics.median(sizes)
        write_config(folder, count, threads_of_last=2)
        service.send_signal(signal.SIGHUP)
        changed = f"m{count - 1}"
        figures["reload that changes one, s"] = wait(
            lambda: mounts(socket).get(changed, {}).get("pid") != before[changed] and all_serve()
        )
        after = {name: mount["pid"] for name, mount in mounts(socket).items()}
        figures["workers touched by it"] = sum(after[name] != before[name] for name in before)
        os.kill(after["m0"], signal.SIGKILL)
        began_s = time.monotonic()
        os.stat(folder / "m0/c/0")
        figures["killed worker until a stat is answered, s"] = time.monotonic() - began_s
    finally:
        began_s = time.monotonic()
        service.send_signal(signal.SIGTERM)
        service.wait(LIMIT_S)
    figures["stop, s"] = time.monotonic() - began_s
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mounts", type=int, default=50)
    count = parser.parse_args().mounts
    folder = Path(tempfile.mkdtemp(prefix="zarrfs-bench."))
    try:
        print(json.dumps(machine()))
        for name, value in measure(folder, count).items():
            print(f"{name}: {value:.2f}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
