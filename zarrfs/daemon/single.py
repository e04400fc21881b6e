"""A supervisor with one mount: what `zarrfs mount` leaves behind.

Owns the end of such a supervisor: with its mount, or when the mount could not
be made in the first place. Everything else is as under `zarrfs serve`, but for
one thing: when it is killed in the background, its store starts another (see
`revival`), because nobody else would.
"""

from __future__ import annotations

import contextlib
import logging
import os
from dataclasses import replace

from zarrfs.daemon.background_records import record_failure, write_record
from zarrfs.daemon.error_json import error_to_json
from zarrfs.daemon.kept import Kept
from zarrfs.daemon.left_mounts import spec_of, take_down, take_from
from zarrfs.daemon.mounting import MountSpec
from zarrfs.daemon.mounting_table import mounted_at
from zarrfs.daemon.native_mounter import NativeMounter
from zarrfs.daemon.own_store import OwnStore
from zarrfs.daemon.reports import StartReport
from zarrfs.daemon.service_control import open_control
from zarrfs.daemon.supervised import State, SupervisedMount
from zarrfs.daemon.supervisor import Supervisor
from zarrfs.daemon.warming import warm_up
from zarrfs.daemon.worker import run_worker
from zarrfs.errors import UnavailableError, ZarrfsError

_log = logging.getLogger("zarrfs.mount")


def supervise_mount(
    spec: MountSpec, report: StartReport, *, revive: list[str] | None = None
) -> bool:
    """Mount, keep a worker on it, and return when the mount is gone.

    `revive` is the command that goes on when this process was killed; without
    one, whoever calls this again goes on. Returns False when the mount could
    not be made.
    """
    spec = replace(spec, name=spec.name or os.path.basename(spec.target) or "mount")
    store = _store_of(spec.target, revive)
    return _supervise(spec, take_from(store.claim(), spec), store, report)


def go_on(target: str, report: StartReport, *, revive: list[str]) -> bool:
    """Supervise a mount whose supervisor was killed; False where there is none."""
    store = _store_of(target, revive)
    for kept in store.claim().values():
        spec = spec_of(kept)
        if spec is not None:
            return _supervise(spec, kept, store, report)
        take_down(kept)
    return False


def was_left(target: str) -> bool:
    """Whether a mount may be there whose supervisor was killed."""
    return _store_of(target).is_there()


def _store_of(target: str, revive: list[str] | None = None) -> OwnStore:
    return OwnStore(f"mount {target}", revive=revive)


def _supervise(spec: MountSpec, kept: Kept | None, store: OwnStore, report: StartReport) -> bool:
    warm_up([spec])
    supervisor = Supervisor(run_worker, NativeMounter(), store=store)
    control = open_control(supervisor)
    mount = supervisor.add(spec, kept)
    store.watch(supervisor, lambda: [mount.kept])
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
        if self._told or self._mount.state in (State.OPENING, State.REPLACING):
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
