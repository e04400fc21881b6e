"""A mount served by a process of its own, started by `zarrfs mount`.

Owns the fork, what the child says to its parent until the mount answers, and
how a serving process ends. What is served is `mounting`'s. The fork happens in
a process with one thread; the child has its own session.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, NoReturn, TypeVar

from zarrfs.daemon.background_log import SYSLOG, log_to
from zarrfs.daemon.background_records import record_failure, write_record
from zarrfs.daemon.error_json import error_from_json, error_to_json
from zarrfs.daemon.mounting import (
    Mount,
    MountSpec,
    mount_filesystem,
    open_filesystem,
    picks_native,
)
from zarrfs.daemon.mounting_table import is_automounted, mounted_at
from zarrfs.daemon.reports import StartReport
from zarrfs.daemon.revival import revival_command
from zarrfs.daemon.single import supervise_mount
from zarrfs.errors import BusyError, UnavailableError, ZarrfsError

if TYPE_CHECKING:
    from zarrfs.storage.storage import Storage

T = TypeVar("T")
_log = logging.getLogger("zarrfs.mount")
_ENDING_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def serve(spec: MountSpec, report: StartReport, *, revive: list[str] | None = None) -> bool:
    """Serve one mount until it is gone: under a supervisor, or where that cannot be, alone.

    libfuse's connection cannot be handed on to another process. `revive` is as
    for `supervise_mount`. Returns False when the mount could not be made.
    """
    if picks_native(spec.options):
        return supervise_mount(spec, report, revive=revive)
    return serve_mount(spec, report)


def serve_mount(spec: MountSpec, report: StartReport) -> bool:
    """Mount, serve in this process, and return when the mount is gone.

    SIGTERM, SIGINT and SIGHUP unmount, lazily while files are open; SIGUSR2
    makes everything durable; SIGUSR1 shows the stacks. Returns False when the
    mount could not be made, or not everything could be written at its end.
    Needs the main thread.
    """
    try:
        mount, storage = _mount_and_start(spec)
    except (ZarrfsError, OSError) as error:
        report.failed(error)
        return False
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    signal.signal(signal.SIGUSR2, lambda *_: _in_thread(_save, storage))
    record = _write_record(spec)
    _log.info("%s is mounted at %s", spec.source, spec.target)
    if not report.serving():
        mount.unmount(lazy=True)
    mount.wait()
    try:
        storage.close()
    except (ZarrfsError, OSError) as error:
        _log.error("unmounted, but not everything could be written out: %s", error)
        if record:
            record_failure(record, error_to_json(error))
        return False
    if record:
        _remove(record)
    _log.info("%s is unmounted", spec.target)
    return True


def _mount_and_start(spec: MountSpec) -> tuple[Mount, Storage]:
    """Return a mount that answers; leave nothing open or mounted when that fails."""
    opened = open_filesystem(spec)
    # A signal between mount(2) and the handlers would leave a dead mount.
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING_SIGNALS)
    try:
        mount = mount_filesystem(opened.vfs, spec.target, opened.fsname, spec.options)
        _unmount_on_signals(mount)
    except BaseException:
        opened.vfs.destroy()
        opened.storage.close()
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING_SIGNALS)
    try:
        mount.start()
    except BaseException:
        opened.storage.close()
        raise
    return mount, opened.storage


def _unmount_on_signals(mount: Mount) -> None:
    """Let a signal unmount; a second one does so lazily at once."""
    asked = threading.Event()

    def unmount(lazy: bool) -> None:
        try:
            try:
                mount.unmount(lazy=lazy)
            except BusyError as error:
                _log.warning("%s; the mount ends when they are closed", error)
                mount.unmount(lazy=True)
        except ZarrfsError as error:
            _log.error("cannot unmount: %s", error)

    def on_signal(number: int, frame: object) -> None:
        # To unmount may need answers from this very process.
        _in_thread(unmount, asked.is_set())
        asked.set()

    for number in _ENDING_SIGNALS:
        signal.signal(number, on_signal)


def _in_thread(work: Callable[[T], None], argument: T) -> None:
    threading.Thread(target=work, args=[argument], daemon=True).start()


def _save(storage: Storage) -> None:
    try:
        storage.flush()
    except (ZarrfsError, OSError) as error:
        _log.error("cannot write everything out: %s", error)


def start_background(spec: MountSpec, *, log: str, log_level: str = "info") -> int:
    """Start a serving process; return its pid when the mount answers.

    `log` is as for `log_to`. Raises: what kept it from mounting; nothing is left
    mounted then.
    """
    read_end, write_end = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        os.close(read_end)
        _become_daemon(spec, write_end, log, log_level)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        _wait_until_serving(pid, pipe, spec.target)
    return pid


def _wait_until_serving(pid: int, pipe: BinaryIO, target: str) -> None:
    try:
        said = pipe.readline()
    except BaseException:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
        raise
    if not said:
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        raise UnavailableError(target, f"the serving process ended at once (status {code})")
    message = json.loads(said)
    if "error" in message:
        os.waitpid(pid, 0)
        raise error_from_json(message)


def _become_daemon(spec: MountSpec, write_end: int, log: str, log_level: str) -> NoReturn:
    """In the child: leave the terminal behind, serve, and never return."""
    status = 70
    try:
        automounted = is_automounted(spec.target)
        if not automounted:
            os.setsid()
        os.chdir("/")
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        os.dup2(null, 0)
        os.dup2(null, 1)
        if log == SYSLOG:
            # Nothing of the terminal may stay open: whoever reads our output to
            # its end, such as a shell's `$(...)`, would wait for the mount's end.
            os.dup2(null, 2)
        report = _PipeReport(write_end, leave_session=automounted)
        try:
            log_to(log, log_level)
        except ZarrfsError as error:
            report.failed(error)
        else:
            revive = revival_command(spec.target, log=log, log_level=log_level)
            status = 0 if serve(spec, report, revive=revive) else 3
    except BaseException:
        _log.exception("%s: serving failed", spec.target)
    finally:
        logging.shutdown()
        os._exit(status)


class _PipeReport:
    """Tells the parent by one line of JSON.

    The kernel lets none but the automounter's own process group reach a target
    that is being mounted on demand, so `leave_session` waits for the mount.
    Source: Documentation/filesystems/autofs.rst, "Communicating with autofs".
    """

    def __init__(self, write_end: int, *, leave_session: bool) -> None:
        self._write_end = write_end
        self._leave_session = leave_session

    def serving(self) -> bool:
        if self._leave_session:
            os.setsid()
        return self._say({"pid": os.getpid()})

    def failed(self, error: ZarrfsError | OSError) -> None:
        self._say(error_to_json(error))

    def _say(self, message: dict[str, object]) -> bool:
        try:
            os.write(self._write_end, json.dumps(message).encode() + b"\n")
        except BrokenPipeError:
            return False
        finally:
            os.close(self._write_end)
        return True


def _write_record(spec: MountSpec) -> str | None:
    """Where the record cannot be kept, the mount works, and unmount waits for less."""
    mounted = mounted_at(spec.target)
    try:
        return write_record(mounted, spec.source) if mounted else None
    except (ZarrfsError, OSError) as error:
        _log.warning("cannot record the mount: %s", error)
        return None


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
