"""A supervisor with one mount: what `zarrfs mount` leaves behind.

Owns the end of such a supervisor: with its mount, or when the mount could not
be made in the first place. Everything else is as under `zarrfs serve`.
"""

from __future__ import annotations

import contextlib
import logging
import os
from dataclasses import replace

from zarrfs.daemon.background_records import record_failure, write_record
from zarrfs.daemon.error_json import error_to_json
from zarrfs.daemon.mounting import MountSpec
from zarrfs.daemon.mounting_table import mounted_at
from zarrfs.daemon.native_mounter import NativeMounter
from zarrfs.daemon.reports import StartReport
from zarrfs.daemon.service_control import open_control
from zarrfs.daemon.supervised import State, SupervisedMount
from zarrfs.daemon.supervisor import Supervisor
from zarrfs.daemon.warming import warm_up
from zarrfs.daemon.worker import run_worker
from zarrfs.errors import UnavailableError, ZarrfsError

_log = logging.getLogger("zarrfs.mount")


def supervise_mount(spec: MountSpec, report: StartReport) -> bool:
    """Mount, keep a worker on it, and return when the mount is gone.

    Returns False when the mount could not be made.
    """
    spec = replace(spec, name=spec.name or os.path.basename(spec.target) or "mount")
    warm_up([spec])
    supervisor = Supervisor(run_worker, NativeMounter())
    control = open_control(supervisor)
    mount = supervisor.add(spec)
    start = _Start(supervisor, mount, report)

    def turned() -> None:
        start.look()
        if control is not None:
            control.look()

    supervisor.on_change = turned
    try:
        supervisor.run()
    finally:
        start.forget()
        if control is not None:
            control.close()
    return start.serving


class _Start:
    """Tells once whether the mount came up."""

    def __init__(self, supervisor: Supervisor, mount: SupervisedMount, report: StartReport) -> None:
        self._supervisor = supervisor
        self._mount = mount
        self._report = report
        self._told = False
        self._record: str | None = None
        self.serving = False

    def look(self) -> None:
        """See what became of the mount; called after each turn of the loop."""
        if self._told or self._mount.state is State.OPENING:
            return
        self._told = True
        # Told to end before the worker said that it serves: that is no failure.
        ending = self._mount.state is State.STOPPING and self._mount.kept.fuse is not None
        self.serving = self._mount.state is State.SERVING or ending
        if self.serving:
            self._remember()
            wanted = self._report.serving()
        else:
            reason = self._mount.reason or "the mount ended at once"
            target = self._mount.spec.target
            self._report.failed(self._mount.error or UnavailableError(target, reason))
            wanted = False
        if not wanted:
            self._supervisor.end()

    def _remember(self) -> None:
        """Write down who serves; `zarrfs unmount` then waits for this process."""
        spec = self._mount.spec
        assert isinstance(spec, MountSpec)
        mounted = mounted_at(spec.target)
        try:
            self._record = write_record(mounted, spec.source) if mounted else None
        except (ZarrfsError, OSError) as error:
            _log.warning("cannot record the mount: %s", error)

    def forget(self) -> None:
        """Take the record away, or leave in it why the mount did not end well."""
        if self._record is None:
            return
        with contextlib.suppress(OSError, ValueError):
            if self._mount.error is not None:
                record_failure(self._record, error_to_json(self._mount.error))
            else:
                os.unlink(self._record)
