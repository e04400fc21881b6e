"""What a supervisor's control socket answers: reports, status, unmounting, saving.

Owns how such a socket is opened, beside the records in the runtime folder.
Used by the supervisor's one thread; nothing here waits.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from typing import Any

from zarrfs.daemon.control import ControlServer, Handler, Later
from zarrfs.daemon.error_json import error_to_json
from zarrfs.daemon.mounting import MountSpec
from zarrfs.daemon.runtime_folders import runtime_folder
from zarrfs.daemon.supervised import SupervisedMount
from zarrfs.daemon.supervisor import Supervisor
from zarrfs.errors import InvalidArgumentError, PathNotFoundError, ZarrfsError

_log = logging.getLogger("zarrfs.control")


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

    def wait(request: dict[str, Any]) -> Later:
        mount = find(supervisor, request.get("target"))
        return lambda: None if mount.alive else _end_of(mount)

    return {"report": report, "status": status, "unmount": unmount, "save": save, "wait": wait}


def _end_of(mount: SupervisedMount) -> dict[str, Any]:
    failure = None if mount.error is None else error_to_json(mount.error)
    return {"state": str(mount.state), "failure": failure}


def open_control(supervisor: Supervisor, path: str | None = None) -> ControlServer | None:
    """Open a supervisor's socket, in the runtime folder unless it has a path of its own.

    Without one the mounts work all the same: a full disk takes none down.
    """
    handlers = control_handlers(supervisor)
    if path is not None:
        try:
            control = ControlServer(supervisor, path, handlers)
            _leave_link(path)
            return control
        except (ZarrfsError, OSError) as error:
            _log.error("%s: the usual control socket is used: %s", path, error)
    try:
        return ControlServer(supervisor, _usual_path(), handlers)
    except (ZarrfsError, OSError) as error:
        _log.error("zarrfs status and unmount will not know these mounts: %s", error)
        return None


def _usual_path() -> str:
    return os.path.join(runtime_folder(), f"{os.getpid()}.sock")


def _leave_link(path: str) -> None:
    """Let `zarrfs status` find a socket that lies elsewhere; it goes when that is gone."""
    try:
        usual = _usual_path()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(usual)
        os.symlink(path, usual)
    except (ZarrfsError, OSError) as error:
        _log.warning("zarrfs status will not find %s: %s", path, error)


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
        "type": spec.kind or mount.statistics.get("type"),
        "state": str(mount.state),
        "reason": mount.reason or mount.statistics.get("notice", ""),
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
