"""`zarrfs serve`: the supervisor of a configuration file's mounts.

Owns how a reload is read, what the control socket answers, the process that
shows metrics, and the mounts that an earlier run of the service left, in the
service manager's store or in our own. Used by the supervisor's one thread.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, replace

from zarrfs.daemon.control import ControlServer
from zarrfs.daemon.kept import Kept, sort_by_mount
from zarrfs.daemon.left_mounts import take_down, take_from
from zarrfs.daemon.logs import LogSettings, LogTarget, set_up_logging
from zarrfs.daemon.metrics_process import Endpoint, MetricsProcess
from zarrfs.daemon.mounting import MountSpec
from zarrfs.daemon.native_mounter import NativeMounter
from zarrfs.daemon.notify import Notifier, take_stored_descriptors
from zarrfs.daemon.own_store import OwnStore
from zarrfs.daemon.service_control import open_control
from zarrfs.daemon.service_plan import BadConfigError, ServicePlan, read_plan
from zarrfs.daemon.supervised import State
from zarrfs.daemon.supervisor import Supervisor
from zarrfs.daemon.warming import warm_up
from zarrfs.daemon.worker import run_worker
from zarrfs.errors import UnavailableError

_log = logging.getLogger("zarrfs.service")


def serve(file: str, *, log_to: LogTarget | None = None) -> int:
    """Serve a configuration file's mounts until told to end; return the exit status.

    Raises: BadConfigError.
    """
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # until the supervisor listens
    plan = read_plan(file)
    return Service(file, plan, log_to=log_to).run()


class Service:
    """One run of `zarrfs serve`."""

    def __init__(self, file: str, plan: ServicePlan, *, log_to: LogTarget | None = None) -> None:
        self._file = file
        self._plan = plan
        self._log_to = log_to
        self._notifier = Notifier.from_environment()
        self._own_store = None if self._notifier.active else OwnStore(_identity(file))
        self._ready = False
        self._control: ControlServer | None = None
        self.supervisor = Supervisor(
            run_worker,
            NativeMounter(),
            notifier=self._notifier,
            store=self._own_store,
            reload=self._reload,
            keep_on_stop=lambda: self._notifier.active and restart_is_under_way(),
            stay=True,
        )
        self.supervisor.on_change = self._turned
        self._left: dict[str, Kept] = {}
        """What an earlier run left and this one did not take over yet."""
        self._metrics = MetricsProcess(self._close_descriptors)

    def run(self) -> int:
        self._set_up_logging()
        self._left = self._take_left()
        self._control = open_control(self.supervisor, self._plan.control_socket)
        self._show_metrics()
        warm_up(self._plan.mounts)
        try:
            for problem in self._plan.problems:
                _log.warning("%s", problem)
            self._start(self._left)
            return self.supervisor.run()
        finally:
            self._metrics.end()
            if self._control is not None:
                self._control.close()
            self._notifier.barrier()

    def _take_left(self) -> dict[str, Kept]:
        """Return the mounts that an earlier run left alive, by name."""
        if self._own_store is None:
            return sort_by_mount(take_stored_descriptors(), self._notifier)
        left = self._own_store.claim()
        mounts = self.supervisor.mounts
        self._own_store.watch(self.supervisor, lambda: [m.kept for m in mounts.values()])
        return left

    def _start(self, left: dict[str, Kept]) -> None:
        """Take over the mounts that live already, and start the others."""
        for spec in self._plan.mounts:
            kept = take_from(left, spec)
            if kept is not None:
                _log.info("%s: taken over from the last run", spec.name)
            self.supervisor.add(spec, kept)
        for kept in left.values():
            take_down(kept)

    def _reload(self) -> Sequence[MountSpec] | None:
        try:
            plan = read_plan(self._file)
        except (BadConfigError, UnavailableError) as error:
            _log.error("not reloaded, everything stays as it is: %s", error)
            return None
        former, self._plan = self._plan, plan
        if plan.logging != former.logging:
            self._set_up_logging()
            for mount in self.supervisor.mounts.values():
                mount.relog(asdict(self._log_settings()))
        if plan.control_socket != former.control_socket:
            self._move_control()
        self._show_metrics()
        for problem in plan.problems:
            _log.warning("%s", problem)
        warm_up(plan.mounts)
        _log.info("reloaded: %d mounts", len(plan.mounts))
        return plan.mounts

    def _set_up_logging(self) -> None:
        set_up_logging(self._log_settings())

    def _log_settings(self) -> LogSettings:
        settings = self._plan.logging
        return settings if self._log_to is None else replace(settings, to=self._log_to)

    def _move_control(self) -> None:
        """Answer where the reloaded file says; who waits at the old socket asks again."""
        if self._control is not None:
            self._control.close()
        self._control = open_control(self.supervisor, self._plan.control_socket)

    def _show_metrics(self) -> None:
        endpoint = Endpoint(self._plan.metrics_listen, self._plan.metrics_socket)
        self._metrics.show(endpoint, None if self._control is None else self._control.path)

    def _close_descriptors(self) -> None:
        """In a child that serves no mount."""
        for kept in self._left.values():
            kept.release()
        self.supervisor.close_descriptors_of(self.supervisor.mounts.values())

    def _turned(self) -> None:
        self._tell_when_ready()
        self._metrics.look()
        if self._control is not None:
            self._control.look()

    def _tell_when_ready(self) -> None:
        """READY=1, once every mount answers or has been tried."""
        mounts = self.supervisor.mounts.values()
        serving = sum(mount.state in (State.SERVING, State.IDLE) for mount in mounts)
        starting = (State.OPENING, State.REPLACING)
        if not self._ready and not any(mount.state in starting for mount in mounts):
            self._ready = True
            self._notifier.ready(f"{serving} of {len(mounts)} mounts serving")
            _log.info("ready: %d of %d mounts serving", serving, len(mounts))


def _identity(file: str) -> str:
    """Tell runs of the same file from those of others."""
    return f"serve {os.path.realpath(file)}"


def restart_is_under_way() -> bool:
    """Whether systemd stops this service only to start it again.

    Source: the Job property of the unit (org.freedesktop.systemd1.Unit) names
    the job that runs; `systemctl list-jobs` tells its type.
    """
    unit = own_unit()
    if unit is None:
        return False
    try:
        jobs = subprocess.run(
            ["systemctl", "list-jobs", "--no-legend", "--full", "--plain", unit],
            capture_output=True, text=True, timeout=10, check=False,
        ).stdout  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return False
    return any(
        line.split()[1:3][-1:] in (["restart"], ["try-restart"]) for line in jobs.splitlines()
    )


def own_unit() -> str | None:
    """Return the systemd unit this process belongs to. Source: proc_pid_cgroup(5)."""
    try:
        with open("/proc/self/cgroup", encoding="utf-8") as file:
            paths = [line.rstrip("\n").split(":", 2)[2] for line in file]
    except (OSError, IndexError):
        return None
    names = (part for path in paths for part in reversed(path.split("/")))
    return next((name for name in names if name.endswith(".service")), None)
