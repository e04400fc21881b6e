"""What `ps` and `top` show of our processes: forked ones share a command line.

Source: /proc/PID/comm in proc_pid_comm(5), at most 15 bytes.
"""

from __future__ import annotations

import contextlib
from typing import Final

SUPERVISOR: Final = "zarrfs"
WORKER: Final = "zarrfs-worker"
STORE: Final = "zarrfs-store"


def name_process(name: str) -> None:
    with contextlib.suppress(OSError), open("/proc/self/comm", "w", encoding="ascii") as file:
        file.write(name)
