"""A worker: the process that serves one mount of a supervisor.

Owns the conversation with the supervisor and the worker's end; what is served
is `mounting`'s. The main thread waits for messages, the frontend's threads
answer the kernel. A worker may be killed at any moment: what a successor needs
is in the descriptors that the supervisor keeps.

SIGQUIT logs the stacks of all threads, even while the interpreter hangs.
"""

from __future__ import annotations

import errno
import faulthandler
import gc
import json
import logging
import os
import select
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from zarrfs.daemon.channel import (
    Beat,
    Channel,
    Dump,
    Failed,
    Finished,
    Message,
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
from zarrfs.daemon.error_json import error_to_json
from zarrfs.daemon.keeper import Keeper
from zarrfs.daemon.kept import ALIVE
from zarrfs.daemon.logs import LogSettings, narrow_logging, set_up_logging
from zarrfs.daemon.mounting import (
    Mount,
    MountSpec,
    OpenFileSystem,
    adopt_filesystem,
    mount_filesystem,
    open_filesystem,
    picks_native,
    resolve,
)
from zarrfs.daemon.mounting_table import mounted_at
from zarrfs.daemon.predecessor import end_predecessor
from zarrfs.daemon.references import TellsReferences
from zarrfs.daemon.statistics import summarised
from zarrfs.errors import BusyError, ZarrfsError
from zarrfs.storage.backend import Caches, WritesLater

if TYPE_CHECKING:
    from zarrfs.daemon.replacements import Replacements
    from zarrfs.fuse_protocol.negotiation import Negotiated as NegotiatedValues

_BEAT_S: Final = 5.0
"""How often a worker says that it is well, at least."""


def run_worker(spec: MountSpec, kept: Mapping[str, int], channel: Channel, keeping: Channel) -> int:
    """Serve one mount until it is gone or the supervisor says so; return the exit status.

    What a successor needs goes over `keeping`, everything else over `channel`.
    """
    faulthandler.register(signal.SIGQUIT, all_threads=True)
    narrow_logging(spec.name)
    log = logging.getLogger(f"zarrfs.mount.{spec.name}")
    keeper = Keeper(kept, keeping)
    end_predecessor(keeper.memory(ALIVE), log)
    # Clients wait, and what is made here lives as long as the mount: no cycles to look for.
    gc.disable()
    try:
        opened = open_filesystem(spec, keeper)
    except (ZarrfsError, OSError) as error:
        channel.send(Failed(error_to_json(error)))
        return 3
    finally:
        gc.freeze()
        gc.enable()
    try:
        mount = _mount(spec, opened, keeper, channel)
        if mount is None:
            opened.storage.close()
            return 0
        mount.start()
    except (ZarrfsError, OSError) as error:
        channel.send(Failed(error_to_json(error)))
        return 3
    channel.send(Serving())
    log.info("serving %s", spec.target)
    beat_s = min(_BEAT_S, spec.hang_timeout_s / 3)
    service = _Service(
        *(opened, mount, channel, log),
        beat_s=beat_s,
        unmounts=not picks_native(spec.options),
    )
    return service.run()


def _mount(
    spec: MountSpec, opened: OpenFileSystem, keeper: Keeper, channel: Channel
) -> Mount | None:
    """Mount, or take over the connection that the supervisor sends; None when it is gone."""
    if not picks_native(spec.options):
        return _mount_by_libfuse(spec, opened)
    channel.send(Opened(opened.fsname, opened.vfs.read_only))
    # Meanwhile somebody may ask for a report: there is nothing to tell yet.
    received = channel.receive()
    while received is not None and not isinstance(received.message, Serve | Stop):
        received = channel.receive()
    if received is None or not isinstance(received.message, Serve):
        return None

    def tell(values: NegotiatedValues) -> None:
        keeper.note_negotiated(asdict(values))

    (descriptor,) = received.descriptors
    keeper.connection = descriptor
    return adopt_filesystem(
        opened.vfs,
        spec.target,
        descriptor,
        received.message.negotiated,
        spec.options,
        tell,
        keeper.memory,
    )


def _mount_by_libfuse(spec: MountSpec, opened: OpenFileSystem) -> Mount:
    """Mount with a frontend whose connection is lost with its worker."""
    if _is_dead(spec.target):
        from zarrfs.frontends.native.mounting import unmount

        unmount(spec.target, lazy=True)  # what a worker that was killed left
    checked = resolve(spec, mkdir=spec.mkdir)
    return mount_filesystem(opened.vfs, checked.target, opened.fsname, spec.options)


def _is_dead(target: str) -> bool:
    """Whether one of our mounts is there that nobody answers."""
    mounted = mounted_at(target)
    if mounted is None or not mounted.is_ours:
        return False
    try:
        os.statvfs(target)  # never from a cache
    except OSError as error:
        return error.errno == errno.ENOTCONN
    return False


class _Service:
    """A mount that answers, and the messages about it."""

    def __init__(
        self,
        opened: OpenFileSystem,
        mount: Mount,
        channel: Channel,
        log: logging.Logger,
        *,
        beat_s: float,
        unmounts: bool,
    ) -> None:
        """`unmounts` says whether the mount ends by the worker's own hand."""
        self._unmounts = unmounts
        self._unmounting = False
        self._beat_s = beat_s
        self._opened = opened
        self._mount = mount
        self._channel = channel
        self._log = log
        self._gone = os.eventfd(0, os.EFD_CLOEXEC)
        threading.Thread(target=self._wait_until_gone, name="unmount", daemon=True).start()
        self._replaced = os.eventfd(0, os.EFD_CLOEXEC)
        self._replacements = opened.replacements
        self._looking = True
        if self._replacements is not None:
            self._replacements.announce()
            look = partial(self._look_at_source, self._replacements)
            threading.Thread(target=look, name="source", daemon=True).start()

    def _wait_until_gone(self) -> None:
        self._mount.wait()
        os.eventfd_write(self._gone, 1)

    def _look_at_source(self, replacements: Replacements) -> None:
        """Wait until another source is there to be shown."""
        while self._looking:
            try:
                if replacements.find(self._log):
                    os.eventfd_write(self._replaced, 1)
                    return
                time.sleep(self._beat_s)
                replacements.announced()
                if isinstance(self._mount, TellsReferences):
                    replacements.let_go(self._mount)
            except Exception:
                if self._looking:  # rather than closed meanwhile
                    self._log.exception("looking at the source")
                    time.sleep(self._beat_s)

    def run(self) -> int:
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        poll.register(self._gone, select.POLLIN)
        poll.register(self._replaced, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll(self._beat_s * 1000)}
            if self._gone in ready:
                return self._end(unmounted=True)
            if self._replaced in ready and self._hand_over():
                return 0
            if self._channel.fileno() not in ready:
                self._channel.send(Beat(self._statistics()))
                continue
            received = self._channel.receive()
            if received is None:
                # The supervisor was killed. The mount goes on without one.
                self._log.warning("the supervisor is gone; serving on alone")
                poll.unregister(self._channel)
                self._looking = False  # nobody starts a successor now
                continue
            for descriptor in received.descriptors:
                os.close(descriptor)
            match received.message:
                case Stop():
                    if not self._unmounts or self._unmounting:
                        return self._end(unmounted=False)
                    self._unmounting = True
                    threading.Thread(target=self._unmount, name="unmount", daemon=True).start()
                case Rest():
                    if self._save():
                        return 0
                case message:
                    self._obey(message)

    def _unmount(self) -> None:
        """Take down a mount that the supervisor has no connection of."""
        try:
            try:
                self._mount.unmount()
            except BusyError:
                self._mount.unmount(lazy=True)
        except ZarrfsError as error:
            self._log.error("cannot unmount: %s", error)

    def _hand_over(self) -> bool:
        """Let a successor show the new source; False when nobody would start one."""
        os.eventfd_read(self._replaced)
        if self._replacements is not None:
            self._replacements.hand_over()
        return self._channel.send(Renew())

    def _obey(self, message: Message) -> None:
        match message:
            case Report():
                self._channel.send(Beat(self._statistics()))
            case Save():
                self._save()
            case Relog(mount, settings):
                set_up_logging(LogSettings(**settings), mount=mount)
            case Dump():
                self._log.info("statistics: %s", json.dumps(summarised(self._statistics())))
                faulthandler.dump_traceback(all_threads=True)
            case _:
                self._log.error("unexpected %s from the supervisor", message)

    @contextmanager
    def _beating(self) -> Iterator[None]:
        """Tell the supervisor that we live, however long it takes to write."""
        done = threading.Event()

        def beat() -> None:
            while not done.wait(self._beat_s):
                self._channel.send(Beat(self._statistics()))

        thread = threading.Thread(target=beat, name="beat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _save(self) -> bool:
        try:
            with self._beating():
                self._opened.storage.backend.flush()
        except (ZarrfsError, OSError) as error:
            self._log.error("cannot write everything out: %s", error)
            return False
        return True

    def _end(self, *, unmounted: bool) -> int:
        """Write everything out. When the mount goes on, it does so with a successor."""
        self._looking = False
        self._channel.send(Beat(self._statistics()))
        written = self._close() if unmounted else self._save()
        self._channel.send(Finished(unmounted))
        return 0 if written else 4

    def _close(self) -> bool:
        """Write everything out for good; what fails is told to who unmounted."""
        try:
            with self._beating():
                self._opened.storage.close()
        except (ZarrfsError, OSError) as error:
            self._log.error("unmounted, but not everything could be written out: %s", error)
            self._channel.send(Failed(error_to_json(error)))
            return False
        return True

    def _statistics(self) -> dict[str, Any]:
        counters = getattr(self._mount, "counters", None)
        if counters is None:
            return {}
        values = asdict(counters.snapshot())
        values["requests"] = sum(values["operations"].values())
        backend = self._opened.storage.backend
        values["type"] = backend.kind
        if isinstance(backend, Caches):
            hits, misses, held_bytes = backend.cache_stats()
            values["cache"] = {"hits": hits, "misses": misses, "bytes": held_bytes}
        if self._replacements is not None:
            values["notice"] = self._replacements.notice
        if isinstance(backend, WritesLater):
            values["pending_bytes"] = backend.pending_bytes()
        return values
