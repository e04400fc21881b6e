"""`zarrfs unmount`: unmount, and wait until the serving process has written everything."""

from __future__ import annotations

import os
import sys

import click

from zarrfs.cli.exit_codes import ExitCode, exit_code_of
from zarrfs.daemon.background_records import (
    MountRecord,
    read_record,
    take_failure,
    wait_until_gone,
)
from zarrfs.daemon.control import Question, ask_all
from zarrfs.daemon.error_json import error_from_json
from zarrfs.daemon.mounting_table import Mounted, canonical_target, mounted_at
from zarrfs.errors import (
    BusyError,
    InvalidArgumentError,
    PathNotFoundError,
    UnavailableError,
    ZarrfsError,
)


@click.command()
@click.argument("targets", metavar="TARGET...", nargs=-1, required=True)
@click.option("-l", "--lazy", is_flag=True, help="Detach now; end when files are closed.")
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=float,
    help="Give up waiting for the serving process after so long.",
)
def unmount(targets: tuple[str, ...], lazy: bool, timeout: float | None) -> ExitCode:
    """Unmount each TARGET and wait until its serving process has ended.

    When the command returns 0, everything that was written is in the source.
    While files in the mount are open, it fails and says so; with --lazy the
    name is gone at once, and the process ends when the last file is closed.
    A mount whose process has died is removed too.
    """
    status = ExitCode.OK
    for target in targets:
        try:
            _unmount(target, lazy, timeout)
        except (ZarrfsError, OSError) as error:
            click.echo(f"zarrfs: {error}", err=True)
            status = exit_code_of(error)
    return status


def _unmount(target: str, lazy: bool, timeout_s: float | None) -> None:
    target = canonical_target(target)
    mounted = mounted_at(target)
    if sys.platform == "linux":
        if mounted is None:
            raise PathNotFoundError(target, "nothing is mounted here")
        if not mounted.is_ours:
            reason = f"a {mounted.fstype} mount, not one of zarrfs"
            raise InvalidArgumentError(target, reason, remedy=f"umount {target}")
    if lazy or mounted is None:
        _take_down(target, lazy=lazy)
    elif record := read_record(mounted):
        _take_down(target, lazy=False)
        _wait_for_process(mounted, record, timeout_s)
    elif service := _find_service(target):
        # Asked before, so that the answer cannot be missed.
        with Question(service, "wait", target=target) as question:
            _take_down(target, lazy=False)
            _wait_for_service(mounted, question, timeout_s)
    else:
        _take_down(target, lazy=False)


def _wait_for_process(mounted: Mounted, record: MountRecord, timeout_s: float | None) -> None:
    """Wait for the process of a mount of its own."""
    if not wait_until_gone(record, timeout_s):
        reason = f"unmounted, but process {record.pid} is still writing"
        raise UnavailableError(mounted.target, reason)
    if failure := take_failure(mounted, record):
        raise _not_written(error_from_json(failure), record.source)


def _wait_for_service(mounted: Mounted, question: Question, timeout_s: float | None) -> None:
    """Wait until a service's worker, or the worker's successor, has written everything."""
    try:
        failure = question.answer(timeout_s)["failure"]
    except TimeoutError:
        raise UnavailableError(mounted.target, "unmounted, but still being written") from None
    except UnavailableError as error:
        reason = f"unmounted, but the service ended before it said that all is written ({error})"
        raise UnavailableError(mounted.target, reason) from error
    if failure is not None:
        raise _not_written(error_from_json(failure), mounted.source)


def _not_written(error: ZarrfsError, source: str) -> ZarrfsError:
    """Say what the failure means, and where an archive's changes are."""
    error.reason = f"unmounted, but not everything is in the source: {error.reason}"
    if os.path.exists(f"{os.path.realpath(source)}.zarrfs-journal"):
        error.remedy = f"it is in the journal beside it: make room, then zarrfs repair {source}"
    return error


def _find_service(target: str) -> str | None:
    """Return the control socket of the supervisor that has a mount."""
    for path, answer in ask_all("status"):
        if any(mount["target"] == target for mount in answer.get("mounts", ())):
            return path
    return None


def _take_down(target: str, *, lazy: bool) -> None:
    from zarrfs.frontends.native.mounting import unmount as unmount_target

    try:
        unmount_target(target, lazy=lazy)
    except BusyError as error:
        reason = error.reason
        raise BusyError(target, f"{reason}; close them, or use --lazy") from error
