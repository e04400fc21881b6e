"""What a supervisor's control socket answers: reports, status, unmounting, saving.

Used by the supervisor's one thread; nothing here waits.
"""

from __future__ import annotations

import os
import time
from typing import Any

from zarrfs.daemon.control import Handler
from zarrfs.daemon.mounting import MountSpec
from zarrfs.daemon.supervised import SupervisedMount
from zarrfs.daemon.supervisor import Supervisor
from zarrfs.errors import InvalidArgumentError, PathNotFoundError


def control_handlers(supervisor: Supervisor) -> dict[str, Handler]:
    """Return the operations by name."""

    def report(_request: dict[str, Any]) -> dict[str, Any]:
        return {"asked": sum(mount.report() for mount in supervisor.mounts.values())}

    def status(_request: dict[str, Any]) -> dict[str, Any]:
        return {"pid": os.getpid(), "mounts": [describe(m) for m in supervisor.mounts.values()]}

    def unmount(request: dict[str, Any]) -> dict[str, Any]:
        mount = find(supervisor, request.get("target"))
        supervisor.remove(mount.spec.name)
        return {"name": mount.spec.name, "supervisor": os.getpid(), "worker": mount.pid}

    def save(request: dict[str, Any]) -> dict[str, Any]:
        mounts = list(supervisor.mounts.values())
        if request.get("target"):
            mounts = [find(supervisor, request["target"])]
        for mount in mounts:
            mount.save()
        return {"mounts": [mount.spec.name for mount in mounts]}

    return {"report": report, "status": status, "unmount": unmount, "save": save}


def find(supervisor: Supervisor, wanted: object) -> SupervisedMount:
    """Return a mount by name or target. Raises: PathNotFoundError, InvalidArgumentError."""
    if not isinstance(wanted, str):
        raise InvalidArgumentError("target", "missing")
    for mount in supervisor.mounts.values():
        if wanted in (mount.spec.name, mount.spec.target) and mount.alive:
            return mount
    raise PathNotFoundError(wanted, "not a mount of this supervisor")


def describe(mount: SupervisedMount) -> dict[str, Any]:
    """Return what `zarrfs status --json` shows of one mount."""
    spec = mount.spec
    assert isinstance(spec, MountSpec)
    return {
        "name": spec.name,
        "source": spec.source,
        "target": spec.target,
        "type": spec.kind,
        "state": str(mount.state),
        "reason": mount.reason,
        "uptime_s": round(time.monotonic() - mount.since_s, 3),
        "pid": mount.pid,
        "supervisor": os.getpid(),
        "restarts": mount.history.restarts,
        "memory_bytes": resident_bytes(mount.pid),
        "statistics": mount.statistics,
    }


def resident_bytes(pid: int | None) -> int | None:
    """Return a process's resident memory. Source: proc_pid_statm(5)."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None
