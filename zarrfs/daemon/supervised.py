"""One mount of a supervisor: its worker, its state, what is done when either ends.

Owns the decisions; forking, mounting and unmounting are the `Host`'s. Used by
the supervisor's thread alone; nothing here waits.

    waiting ──> opening ──> serving ──> stopping ──> stopped
       ^           │         │   ^
       └── retry ──┘         v   │ successor
                          replacing ──> given up

A worker that dies is replaced while the kernel keeps the requests: the
successor gets the same connection and the kept descriptors, and asks for what
was not answered (FUSE_NOTIFY_RESEND, protocol 7.40).
"""

from __future__ import annotations

import logging
import os
import signal
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Protocol

from zarrfs.daemon.channel import (
    Beat,
    Channel,
    Dump,
    Failed,
    Finished,
    Forget,
    Keep,
    Message,
    Negotiated,
    Opened,
    Relog,
    Renew,
    Report,
    Rest,
    Save,
    Serve,
    Serving,
    Stop,
)
from zarrfs.daemon.error_json import error_from_json, error_to_json
from zarrfs.daemon.kept import FUSE, Kept
from zarrfs.daemon.restarts import RestartHistory
from zarrfs.errors import UnavailableError, ZarrfsError
from zarrfs.fuse_protocol.flags import InitFlags

STOP_LIMIT_S: Final = 60.0
OPEN_FILES_GRACE_S: Final = 2.0
_STACKS_GRACE_S: Final = 1.0
_OPENING_LIMIT_S: Final = 60.0
_KILLED_FROM_OUTSIDE: Final = (signal.SIGKILL, signal.SIGTERM)


class State(StrEnum):
    WAITING = "waiting"
    OPENING = "opening"
    SERVING = "serving"
    REPLACING = "replacing"
    IDLE = "idle"
    STOPPING = "stopping"
    STOPPED = "stopped"
    GIVEN_UP = "given up"


class Spec(Protocol):
    """What a supervisor must know of a mount; the rest is its worker's business."""

    @property
    def name(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def required(self) -> bool: ...
    @property
    def idle_timeout_s(self) -> float | None: ...
    @property
    def hang_timeout_s(self) -> float: ...
    def is_served_like(self, other: Any) -> bool: ...
    def to_json(self) -> dict[str, Any]: ...


class Host(Protocol):
    """What the supervisor's process does for a mount."""

    def spawn(self, mount: SupervisedMount) -> tuple[int, Channel, Channel]:
        """Start a worker; return its pid and our ends of its two channels."""

    def drop_channel(self, channel: Channel) -> None: ...

    def attach(self, mount: SupervisedMount, opened: Opened) -> int:
        """Mount, and return the connection's descriptor. Raises: ZarrfsError."""

    def detach(self, mount: SupervisedMount) -> None:
        """Begin to unmount in a process of its own, lazily if files are open."""

    def watch_requests(self, mount: SupervisedMount, *, on: bool) -> None:
        """Call `wake` when the connection has a request, while nobody serves it."""


@dataclass(slots=True)
class SupervisedMount:
    """One mount. `due_s` is when `tick` wants to be called, on the monotonic clock."""

    spec: Spec
    host: Host
    kept: Kept
    history: RestartHistory = field(default_factory=RestartHistory)
    state: State = State.WAITING
    reason: str = ""
    error: ZarrfsError | None = None
    """What kept it from being mounted, if that is known."""
    pid: int | None = None
    channel: Channel | None = None
    keeping: Channel | None = None
    statistics: dict[str, Any] = field(default_factory=dict)
    since_s: float = 0.0
    due_s: float | None = None
    _last_beat_s: float = 0.0
    _last_used_s: float = 0.0
    _stop_by_s: float = 0.0
    _useful: bool = False
    _hung: bool = False
    _failure: str = ""
    _finished: bool = False
    _unmounted: bool = False
    _handover: bool = False
    _renewing: bool = False

    # -- what the supervisor asks -----------------------------------------

    def start(self, now_s: float) -> None:
        """Start a worker, for a new mount or for one that is there already."""
        if self.pid is not None:
            return
        self._failure, self._useful, self._hung, self._renewing = "", False, False, False
        self._finished, self._unmounted = False, False
        self.error = None
        self._enter(State.OPENING if self.kept.fuse is None else State.REPLACING, now_s)
        self.pid, self.channel, self.keeping = self.host.spawn(self)
        if self.kept.fuse is not None:
            self._serve(self.kept.fuse)
        self._last_beat_s = self._last_used_s = now_s
        self.due_s = now_s + self._silence_limit_s

    def stop(self, now_s: float, *, handover: bool = False) -> None:
        """Write out, unmount and end; with `handover` leave the mount for a successor."""
        if self.state in (State.STOPPING, State.STOPPED, State.GIVEN_UP):
            return
        self._handover = handover
        self._stop_by_s = now_s + STOP_LIMIT_S
        if self.kept.fuse is None and self.pid is None:
            self._ended(now_s)
            return
        if self.pid is None:
            self.host.watch_requests(self, on=False)
            if not handover and self.state is State.IDLE:
                # What the last worker kept unwritten (a memory mount's
                # snapshot) needs a worker to be written.
                self.start(now_s)
        self._enter(State.STOPPING, now_s)
        if handover or self.kept.fuse is None:
            self._send(Stop())
        else:
            self.host.detach(self)
        self.due_s = now_s + OPEN_FILES_GRACE_S
        if self.pid is None:
            self._ended(now_s)

    def follow(self, spec: Spec, now_s: float) -> bool:
        """Be `spec` from now on, if its worker need not notice; try again what waits."""
        if self.state is State.STOPPING or not self.spec.is_served_like(spec):
            return False
        if self.state is State.WAITING:
            self.due_s = now_s
        if spec != self.spec and self.kept.fuse is not None:
            self.kept.write_record({**self.kept.read_record(), "spec": spec.to_json()})
        self.spec = spec
        return True

    def save(self) -> None:
        self._send(Save())

    def dump(self, now_s: float) -> None:
        """Log what it is, and let the worker log what it did."""
        self._log.info(
            "%s for %.0f s, worker %s, %d restarts%s",
            *(self.state, now_s - self.since_s, self.pid or "none", self.history.restarts),
            f": {self.reason}" if self.reason else "",
        )
        self._send(Dump())

    def relog(self, settings: dict[str, Any]) -> None:
        """Let the worker log as a reloaded file says."""
        self._send(Relog(self.spec.name, settings))

    def report(self) -> bool:
        """Ask for fresh statistics; False when nobody will answer."""
        return self._send(Report())

    def wake(self, now_s: float) -> None:
        """A request came for a mount whose worker was dropped."""
        if self.state is State.IDLE:
            self.host.watch_requests(self, on=False)
            self.start(now_s)

    # -- what happens ------------------------------------------------------

    def received(self, message: Message, descriptors: list[int], now_s: float) -> None:
        self._last_beat_s = now_s
        match message:
            case Opened():
                self._attach(message, now_s)
            case Keep(names):
                for name, descriptor in zip(names, descriptors, strict=True):
                    self.kept.put(name, descriptor)
            case Forget(names):
                self.kept.drop(names)
            case Negotiated(values):
                self.kept.write_record({**self.kept.read_record(), "negotiated": values})
            case Serving():
                self.history.served()
                if self.state is not State.STOPPING:
                    self._enter(State.SERVING, now_s)
                    self.due_s = now_s + self._silence_limit_s
            case Beat(statistics):
                self._note_statistics(statistics, now_s)
            case Failed(error):
                self.error = error_from_json(error)
                self._failure = str(self.error)
            case Renew():
                self._renewing = True
            case Finished(unmounted):
                self._finished, self._unmounted = True, unmounted
            case _:
                self._log.error("unexpected %s from worker %s", message, self.pid)

    def exited(self, status: int, now_s: float) -> None:
        """The worker ended with a wait status."""
        pid, self.pid = self.pid, None
        for channel in self.channels:
            self.host.drop_channel(channel)
        self.channel = self.keeping = None
        gone = self._unmounted or self.kept.is_gone
        if (gone or self.state is State.STOPPING) and self._left_unfinished(status, now_s):
            self._log.warning("worker %s was killed while it wrote; a successor goes on", pid)
            self._finish(now_s, gone=gone)
        elif self.state is State.STOPPING:
            self._ended(now_s)
        elif gone:
            self._log.info("%s was unmounted", self.spec.target)
            self._ended(now_s)
        elif self._failure:
            self._failed(self._failure, now_s)
        elif self._renewing:
            self.start(now_s)
        elif os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
            self._enter(State.IDLE, now_s)
            self.due_s = None
            self.host.watch_requests(self, on=True)
        else:
            self._replace(pid, status, now_s)

    def tick(self, now_s: float) -> None:
        """Do what is due."""
        if self.due_s is None or now_s < self.due_s:
            return
        if self.state is State.STOPPING:
            self._press_on(now_s)
        elif self.pid is None:
            self.start(now_s)
        elif self._mind_silence(now_s, self._silence_limit_s):
            self.due_s = now_s + _STACKS_GRACE_S
        else:
            self.due_s = self._last_beat_s + self._silence_limit_s

    def _mind_silence(self, now_s: float, limit_s: float) -> bool:
        """Have a worker that is silent for too long show its stacks, and kill it the next time."""
        silent_s = now_s - self._last_beat_s
        if silent_s < limit_s:
            return False
        if silent_s >= limit_s + _STACKS_GRACE_S:
            self._hung = True
            self._kill()
        else:
            self._log.error(
                "worker %s was silent for %.0f s; its stacks follow, then it is replaced",
                *(self.pid, silent_s),
            )
            self._signal(signal.SIGQUIT)
        return True

    @property
    def _silence_limit_s(self) -> float:
        """How long a worker may be silent; one that opens its source sends nothing yet."""
        limit_s = self.spec.hang_timeout_s
        return limit_s if self.state is State.SERVING else max(limit_s, _OPENING_LIMIT_S)

    @property
    def channels(self) -> list[Channel]:
        """Our ends: what the worker says, and what it gives into keeping."""
        return [channel for channel in (self.channel, self.keeping) if channel is not None]

    @property
    def alive(self) -> bool:
        """Whether anything of it is left to end."""
        return self.state not in (State.STOPPED, State.GIVEN_UP) or self.pid is not None

    # -- steps -------------------------------------------------------------

    @property
    def _log(self) -> logging.Logger:
        return logging.getLogger(f"zarrfs.mount.{self.spec.name}")

    def _enter(self, state: State, now_s: float, reason: str = "") -> None:
        if state is not self.state:
            self.since_s = now_s
        self.state = state
        if reason or state is State.SERVING:
            self.reason = reason

    def _attach(self, opened: Opened, now_s: float) -> None:
        if self.kept.fuse is not None or self.state is State.STOPPING:
            return
        try:
            descriptor = self.host.attach(self, opened)
        except (ZarrfsError, OSError) as error:
            self.error = error_from_json(error_to_json(error))
            self._failure = str(self.error)
            self._kill()
            return
        self.kept.put(FUSE, descriptor)
        self.kept.write_record({"spec": self.spec.to_json()})
        self._serve(descriptor)

    def _serve(self, descriptor: int) -> None:
        negotiated = self.kept.read_record().get("negotiated")
        self._send(Serve(negotiated), [descriptor])

    def _note_statistics(self, statistics: dict[str, Any], now_s: float) -> None:
        requests = statistics.get("requests", 0)
        if requests != self.statistics.get("requests"):
            self._last_used_s = now_s
            if requests > 0:
                self._useful = True
                self.history.was_useful()
        self.statistics = statistics
        limit_s = self.spec.idle_timeout_s
        if (
            limit_s is not None
            and self.state is State.SERVING
            and now_s - self._last_used_s >= limit_s
            and self._can_resend()
        ):
            self._log.info("unused for %.0f s: its worker rests", now_s - self._last_used_s)
            self._send(Rest())

    def _can_resend(self) -> bool:
        """Whether a request that comes as a worker goes to rest is not lost with it."""
        negotiated = self.kept.read_record().get("negotiated") or {}
        return bool(negotiated.get("flags", 0) & InitFlags.HAS_RESEND)

    def _replace(self, pid: int | None, status: int, now_s: float) -> None:
        how = (
            f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
            if os.WIFSIGNALED(status)
            else f"ended with status {os.waitstatus_to_exitcode(status)}"
        )
        if self.kept.fuse is None:
            # A frontend without a connection of ours loses its mount with its worker.
            when = "" if self.state is State.SERVING else " before it could mount"
            self._failed(f"the worker was lost{when} ({how})", now_s)
            return
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) in _KILLED_FROM_OUTSIDE
        useful = self._useful or (self.state is State.SERVING and killed and not self._hung)
        wait_s = self.history.died(now_s, useful=useful)
        if wait_s is None:
            self._log.error(
                "given up: workers die again and again (the last, %s, %s); %s is unmounted",
                *(pid, how, self.spec.target),
            )
            self._take_down()
            self._enter(State.GIVEN_UP, now_s, f"workers die again and again; the last {how}")
            self.due_s = None
            return
        self._log.warning("worker %s %s; a successor takes over", pid, how)
        self._enter(State.REPLACING, now_s)
        if wait_s == 0:
            self.start(now_s)
        else:
            self.due_s = now_s + wait_s

    def _left_unfinished(self, status: int, now_s: float) -> bool:
        """Whether the last worker of a mount that ends died before all was written."""
        if self._handover or self._finished or not os.WIFSIGNALED(status):
            return False
        if self.state is State.STOPPING and now_s >= self._stop_by_s:
            return False
        if self.history.died(now_s, useful=self._useful) is not None:
            return True
        reason = "workers died before everything was written"
        self.error = UnavailableError(self.spec.target, reason)
        return False

    def _finish(self, now_s: float, *, gone: bool) -> None:
        """Have a successor write what is left; where the connection is gone it ends by itself."""
        if self.state is not State.STOPPING:
            self._stop_by_s = now_s + STOP_LIMIT_S
        self.start(now_s)
        self._enter(State.STOPPING, now_s)
        if not gone:
            self._send(Stop())
        self.due_s = self._stop_by_s

    def _failed(self, reason: str, now_s: float) -> None:
        self._take_down()
        wait_s = self.history.failed()
        self._log.error("%s; tried again in %.1f s", reason, wait_s)
        self._enter(State.WAITING, now_s, reason)
        self.due_s = now_s + wait_s

    def _take_down(self) -> None:
        """Leave nothing mounted that nobody answers.

        With its last descriptor the connection ends, and whoever waits for it
        gets an error.
        """
        is_detached = self.state is State.STOPPING
        if self.kept.fuse is not None and not is_detached and not self.kept.is_gone:
            self.host.detach(self)
        self.kept.clear()

    def _ended(self, now_s: float) -> None:
        if self._handover:
            self.kept.release()
        else:
            self._take_down()
        self._enter(State.STOPPED, now_s, "" if self.error is None else str(self.error))
        self.due_s = None

    def _press_on(self, now_s: float) -> None:
        """Stopping takes long: files are open still, or the worker hangs."""
        limit_s = min(self.spec.hang_timeout_s, STOP_LIMIT_S / 2)
        if self.pid is None:
            self._ended(now_s)
        elif now_s >= self._stop_by_s:
            self._log.error("worker %s does not end; killed", self.pid)
            self._kill()
            self.due_s = now_s + 1.0
        elif self._mind_silence(now_s, limit_s):
            # Time is left for a successor to write what this one did not.
            self.due_s = min(self._stop_by_s, now_s + _STACKS_GRACE_S)
        else:
            self._send(Stop())
            self.due_s = min(self._stop_by_s, self._last_beat_s + limit_s)

    def _send(self, message: Message, descriptors: tuple[int, ...] | list[int] = ()) -> bool:
        return self.channel is not None and self.channel.send(message, descriptors)

    def _kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self.pid is not None:
            os.kill(self.pid, number)
