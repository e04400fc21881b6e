"""The supervisor: one thread, one loop, a worker process for each mount.

Owns forking, mounting, unmounting, signals and the loop; what is decided for a
mount is `supervised`'s, what a worker does is the `run_worker` it is given.
The process has no second thread, so that it can fork workers which share its
memory: modules are imported once, before the first fork.

Signals: SIGTERM and SIGINT end it, SIGHUP reloads, SIGUSR1 logs statistics and
stacks, SIGUSR2 makes everything durable.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from zarrfs.daemon.channel import Channel, Opened, Stored
from zarrfs.daemon.kept import FUSE, DescriptorStore, Kept
from zarrfs.daemon.notify import Notifier, watchdog_interval_s
from zarrfs.daemon.process_name import WORKER, name_process
from zarrfs.daemon.supervised import Spec, State, SupervisedMount
from zarrfs.fuse_protocol import notifications

_SIGNALS: Final = (
    *(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD),
    *(signal.SIGUSR1, signal.SIGUSR2),
)
_LONGEST_WAIT_S: Final = 60.0

_log = logging.getLogger("zarrfs.supervisor")


class HasFileno(Protocol):
    def fileno(self) -> int: ...


class Mounter(Protocol):
    """Mounting and unmounting, as the frontends do it."""

    def mount(self, spec: Spec, opened: Opened) -> int:
        """Mount; return the connection. Raises: ZarrfsError."""

    def unmount(self, target: str, *, lazy: bool) -> None:
        """Raises: BusyError where files are open and it is not lazy."""


RunWorker = Callable[[Any, Mapping[str, int], Channel, Channel], int]
"""Serve one mount (its own kind of `Spec`) in this process; returns the exit status.

The channels are the one for what is said and the one for what is kept."""


class Supervisor:
    """Keeps mounts alive until it is told to end."""

    def __init__(
        self,
        run_worker: RunWorker,
        mounter: Mounter,
        *,
        notifier: Notifier | None = None,
        store: DescriptorStore | None = None,
        reload: Callable[[], Sequence[Spec] | None] | None = None,
        keep_on_stop: Callable[[], bool] = lambda: False,
        stay: bool = False,
    ) -> None:
        """`store` is where descriptors outlive this process, the notifier's manager
        unless it is another; `reload` returns the wanted mounts anew, or None
        when they stay as they are; `keep_on_stop` tells whether a successor of
        this whole service will come for the mounts; with `stay`, `run` goes on
        when no mount is left.
        """
        self._run_worker = run_worker
        self._mounter = mounter
        self._notifier = notifier or Notifier(None)
        self._store = store or self._notifier
        self._reload = reload
        self._keep_on_stop = keep_on_stop
        self._stay = stay
        self._selector = selectors.DefaultSelector()
        self._detaching: set[int] = set()
        self._wanted: dict[str, Spec] = {}
        self._ending = False
        self._exit_status = 0
        self._wakeup_reader, self._wakeup_writer = socket.socketpair()
        self._pending_signals: list[int] = []
        self.mounts: dict[str, SupervisedMount] = {}
        self.started_s = time.monotonic()
        self.on_change: Callable[[], None] = lambda: None
        """Called after each turn of the loop in which anything happened."""

    # -- the set of mounts -------------------------------------------------

    def add(self, spec: Spec, kept: Kept | None = None) -> SupervisedMount:
        """Take a mount on; with `kept`, one that is mounted already."""
        self._wanted[spec.name] = spec
        mount = SupervisedMount(spec, self, kept or Kept(spec.name, self._store))
        self.mounts[spec.name] = mount
        mount.start(time.monotonic())
        return mount

    def remove(self, name: str) -> None:
        self._wanted.pop(name, None)
        self.mounts[name].stop(time.monotonic())

    def change_to(self, wanted: Iterable[Spec]) -> None:
        """Make the mounts those wanted; what is unchanged is not touched.

        A changed mount is stopped first, unless its worker need not notice; its
        new form starts when the old one has ended. One that had ended or was
        given up starts again, and one that waits is tried at once.
        """
        now_s = time.monotonic()
        self._wanted = {spec.name: spec for spec in wanted}
        for name, mount in list(self.mounts.items()):
            if mount.state in (State.STOPPED, State.GIVEN_UP):
                del self.mounts[name]
            elif (spec := self._wanted.get(name)) is None or not mount.follow(spec, now_s):
                mount.stop(now_s)
        self._start_wanted()

    def _start_wanted(self) -> None:
        """Start what is wanted and whose name and target are free by now."""
        for name, mount in list(self.mounts.items()):
            if mount.state is State.STOPPED and self._wanted.get(name) != mount.spec:
                del self.mounts[name]
        busy = {mount.spec.target for mount in self.mounts.values() if mount.alive}
        for name, spec in self._wanted.items():
            if name not in self.mounts and spec.target not in busy:
                self.add(spec)

    # -- Host --------------------------------------------------------------

    def spawn(self, mount: SupervisedMount) -> tuple[int, Channel, Channel]:
        pairs = Channel.pair(), Channel.pair()
        ours, theirs = zip(*pairs, strict=True)
        sys.stdout.flush()
        sys.stderr.flush()
        gc.freeze()
        pid = os.fork()
        if pid == 0:
            self._become_worker(mount, ours, theirs)
        for channel in theirs:
            channel.close()
        for channel in ours:
            channel.never_wait()  # for a worker that hangs
            self._selector.register(channel, selectors.EVENT_READ, mount)
        return pid, *ours

    def _become_worker(
        self, mount: SupervisedMount, ours: Iterable[Channel], theirs: Iterable[Channel]
    ) -> None:
        """In the child: keep what is this mount's, close the others', and serve."""
        status = 70
        try:
            name_process(WORKER)
            signal.set_wakeup_fd(-1)
            for number in _SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            for channel in ours:
                channel.close()
            self._selector.close()
            self._wakeup_reader.close()
            self._wakeup_writer.close()
            others = (other for other in self.mounts.values() if other is not mount)
            self.close_descriptors_of(others)
            status = self._run_worker(mount.spec, dict(mount.kept.descriptors), *theirs)
        except BaseException:
            logging.getLogger("zarrfs.worker").exception("worker of %s failed", mount.spec.name)
        finally:
            logging.shutdown()
            os._exit(status)

    @staticmethod
    def close_descriptors_of(mounts: Iterable[SupervisedMount]) -> None:
        """In a child: a copy of a connection would keep that mount from ending."""
        for mount in mounts:
            for channel in mount.channels:
                channel.close()
            mount.kept.release()

    def drop_channel(self, channel: Channel) -> None:
        self._selector.unregister(channel)
        channel.close()

    def attach(self, mount: SupervisedMount, opened: Opened) -> int:
        return self._mounter.mount(mount.spec, opened)

    def detach(self, mount: SupervisedMount) -> None:
        """Unmount in a child: it may wait for a worker that hangs."""
        pid = os.fork()
        if pid == 0:
            status = 0
            try:
                signal.set_wakeup_fd(-1)
                self.close_descriptors_of(self.mounts.values())
                try:
                    self._mounter.unmount(mount.spec.target, lazy=False)
                except Exception:
                    self._mounter.unmount(mount.spec.target, lazy=True)
            except BaseException as error:
                os.write(2, f"zarrfs: {mount.spec.target}: {error}\n".encode())
                status = 1
            finally:
                os._exit(status)
        self._detaching.add(pid)

    def watch_requests(self, mount: SupervisedMount, *, on: bool) -> None:
        descriptor = mount.kept.descriptors.get(FUSE)
        if descriptor is None:
            return
        if on:
            with contextlib.suppress(OSError):
                # One may have come just as the worker went.
                os.write(descriptor, notifications.resend())
            self._selector.register(descriptor, selectors.EVENT_READ, mount)
        else:
            with contextlib.suppress(KeyError):
                self._selector.unregister(descriptor)

    # -- the loop ----------------------------------------------------------

    def listen(self, fileobj: HasFileno, ready: Callable[[], None]) -> None:
        """Call `ready` whenever a descriptor can be read (the control socket, the store)."""
        self._selector.register(fileobj, selectors.EVENT_READ, ready)

    def unlisten(self, fileobj: HasFileno) -> None:
        self._selector.unregister(fileobj)

    def run(self) -> int:
        """Run until all mounts have ended; returns the exit status."""
        self._install_signals()
        watchdog_s = watchdog_interval_s()
        next_watchdog_s = time.monotonic()
        while not self._done():
            now_s = time.monotonic()
            if watchdog_s is not None and now_s >= next_watchdog_s:
                self._notifier.watchdog()
                next_watchdog_s = now_s + watchdog_s
            self._turn(now_s, next_watchdog_s if watchdog_s is not None else None)
        if not self._ending and any(m.state is State.GIVEN_UP for m in self.mounts.values()):
            return 1
        return self._exit_status

    def _turn(self, now_s: float, wake_s: float | None) -> None:
        dues = [mount.due_s for mount in self.mounts.values() if mount.due_s is not None]
        until_s = min([*dues, now_s + _LONGEST_WAIT_S, *([wake_s] if wake_s else [])])
        for key, _ in self._selector.select(max(until_s - now_s, 0)):
            if isinstance(key.data, SupervisedMount):
                self._mount_readable(key.data, key.fileobj)
            else:
                key.data()
        self._handle_signals()
        now_s = time.monotonic()
        for mount in list(self.mounts.values()):
            mount.tick(now_s)
        self._end_if_required_failed()
        self._start_wanted()
        self.on_change()

    def _mount_readable(self, mount: SupervisedMount, source: object) -> None:
        now_s = time.monotonic()
        if isinstance(source, int):
            mount.wake(now_s)
            return
        for channel in mount.channels:
            if channel is source and not self._hear(mount, channel) and mount.pid is not None:
                # Its ends of the channels close only as it exits.
                os.kill(mount.pid, signal.SIGKILL)
                _, status = os.waitpid(mount.pid, 0)
                self._drain(mount)
                mount.exited(status, now_s)

    @staticmethod
    def _hear(mount: SupervisedMount, channel: Channel) -> bool:
        """Take one message; False when there will be no more."""
        try:
            received = channel.receive(0)
        except TimeoutError:
            return True
        if received is None:
            return False
        mount.received(received.message, received.descriptors, time.monotonic())
        if channel is mount.keeping:
            channel.send(Stored())
        return True

    def _done(self) -> bool:
        if self._stay and not self._ending:
            return False
        return not any(mount.alive for mount in self.mounts.values())

    def _end_if_required_failed(self) -> None:
        for mount in self.mounts.values():
            if (
                mount.spec.required
                and mount.state in (State.WAITING, State.GIVEN_UP)
                and (mount.reason and not self._ending)
            ):
                _log.error("%s is required and failed: %s", mount.spec.name, mount.reason)
                self._exit_status = 3
                self.end()
                return

    def end(self, *, handover: bool = False) -> None:
        """Stop all mounts; `run` returns when they have ended."""
        self._ending = True
        self._wanted = {}
        self._notifier.stopping(f"stopping {len(self.mounts)} mounts")
        now_s = time.monotonic()
        for mount in self.mounts.values():
            mount.stop(now_s, handover=handover)

    # -- signals -----------------------------------------------------------

    def _install_signals(self) -> None:
        for end in (self._wakeup_reader, self._wakeup_writer):
            end.setblocking(False)
        signal.set_wakeup_fd(self._wakeup_writer.fileno(), warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, lambda _number, _frame: None)
        self._selector.register(self._wakeup_reader, selectors.EVENT_READ, self._read_signals)

    def _read_signals(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._pending_signals.extend(self._wakeup_reader.recv(4096))

    def _handle_signals(self) -> None:
        numbers, self._pending_signals = set(self._pending_signals), []
        self._reap()
        if {signal.SIGTERM, signal.SIGINT} & numbers:
            _log.info("told to end")
            self.end(handover=self._keep_on_stop())
        elif signal.SIGHUP in numbers and self._reload is not None and not self._ending:
            self._notifier.reloading()
            wanted = self._reload()
            if wanted is not None:
                self.change_to(wanted)
            refused = "; the last reload was refused" if wanted is None else ""
            self._notifier.ready(f"{len(self.mounts)} mounts{refused}")
        if signal.SIGUSR1 in numbers:
            self._dump()
        if signal.SIGUSR2 in numbers:
            for mount in self.mounts.values():
                mount.save()

    def _dump(self) -> None:
        for mount in self.mounts.values():
            mount.dump(time.monotonic())

    def _reap(self) -> None:
        for mount in list(self.mounts.values()):
            if mount.pid is not None:
                pid, status = os.waitpid(mount.pid, os.WNOHANG)
                if pid:
                    self._drain(mount)
                    mount.exited(status, time.monotonic())
        for pid in list(self._detaching):
            if os.waitpid(pid, os.WNOHANG)[0]:
                self._detaching.discard(pid)

    def _drain(self, mount: SupervisedMount) -> None:
        """Take what a worker said before it ended."""
        for channel in mount.channels:
            while channel.has_more and self._hear(mount, channel):
                pass
