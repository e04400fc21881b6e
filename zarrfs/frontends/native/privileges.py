"""What this process may do without being root.

Source: capabilities(7), proc_pid_status(5) `CapEff`.
"""

from __future__ import annotations

import os
from typing import Final

_CAP_SYS_ADMIN: Final = 21


def may_administer() -> bool:
    """Whether this process has CAP_SYS_ADMIN: for mount(2), umount2(2), passthrough.

    A service of a user of its own may be given it, and root in a container may
    lack it, so the user's number tells nothing.
    """
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            effective = next(line.split()[1] for line in status if line.startswith("CapEff:"))
    except (OSError, StopIteration):
        return os.geteuid() == 0
    return bool(int(effective, 16) >> _CAP_SYS_ADMIN & 1)
