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
    server = _server(mounted) if mounted else None
    _take_down(target, lazy=lazy)
    if lazy or mounted is None or server is None:
        return
    if not wait_until_gone(server, timeout_s):
        reason = f"unmounted, but process {server.pid} is still writing"
        raise UnavailableError(target, reason)
    if failure := take_failure(mounted):
        raise _not_written(error_from_json(failure), server.source)


def _not_written(error: ZarrfsError, source: str) -> ZarrfsError:
    """Say what the failure means, and where an archive's changes are."""
    error.reason = f"unmounted, but not everything is in the source: {error.reason}"
    if os.path.exists(f"{source}.zarrfs-journal"):
        error.remedy = f"it is in the journal beside it: make room, then zarrfs repair {source}"
    return error


def _server(mounted: Mounted) -> MountRecord | None:
    """Return the process that serves a mount: of its own, or the worker of a service."""
    if record := read_record(mounted):
        return record
    from zarrfs.daemon.control import ask_all

    for _, answer in ask_all("status"):
        for mount in answer.get("mounts", ()):
            if mount["target"] == mounted.target and mount["pid"]:
                return MountRecord.of(mount["pid"], mount["source"], mounted.target)
    return None


def _take_down(target: str, *, lazy: bool) -> None:
    from zarrfs.frontends.native.mounting import unmount as unmount_target

    try:
        unmount_target(target, lazy=lazy)
    except BusyError as error:
        reason = error.reason
        raise BusyError(target, f"{reason}; close them, or use --lazy") from error
