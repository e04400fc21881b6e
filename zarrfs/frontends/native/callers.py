"""What can be seen of a calling process in /proc."""

from __future__ import annotations

import signal


def is_being_killed(pid: int) -> bool:
    """Whether a thread has SIGKILL pending, which a fatal signal always ends as.

    Source: proc_pid_status(5), `SigPnd`; complete_signal() in kernel/signal.c.
    """
    try:
        with open(f"/proc/{pid}/status", "rb") as status:
            for line in status:
                if line.startswith(b"SigPnd:"):
                    return bool(int(line[7:], 16) >> (signal.SIGKILL - 1) & 1)
    except (OSError, ValueError):
        pass
    return False
