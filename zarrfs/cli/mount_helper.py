"""`mount.zarrfs`: what mount(8) runs for `mount -t zarrfs` and for lines of /etc/fstab.

    /srv/a.zarr.zip  /mnt/a  zarrfs  ro,_netdev  0 0

Source: mount(8), "EXTERNAL HELPERS": `mount.SUFFIX SPEC DIR [-sfnv] [-N NAMESPACE]
[-o OPTIONS] [-t TYPE]`. The options are those of `zarrfs mount -o`; what mount
and systemd keep for themselves (`_netdev`, `x-systemd.*`) is passed over. Called
as `umount.fuse.zarrfs` it is `umount_helper`; as `mount.fuse.zarrfs`, by which
mount(8) knows what is mounted (`-o remount`), it is the same as `mount.zarrfs`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from zarrfs.cli.exit_codes import ExitCode

_STATUS = {
    ExitCode.OK: 0,
    ExitCode.CONTENT: 32,
    ExitCode.USAGE: 1,
    ExitCode.SYSTEM: 32,
    ExitCode.INTERRUPTED: 8,
}
"""mount(8), "EXIT STATUS": 1 incorrect invocation, 8 user interrupt, 32 mount failure."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("source")
@click.argument("target")
@click.option("-o", "options", multiple=True, metavar="OPTIONS", help="As for zarrfs mount -o.")
@click.option("-t", "kind", help="The type in fstab: zarrfs, or zarrfs.BACKEND.")
@click.option("-f", "fake", is_flag=True, help="Check everything, but do not mount.")
@click.option("-r", "read_only", is_flag=True, help="The same as -o ro.")
@click.option("-w", "writable", is_flag=True, help="The same as -o rw.")
@click.option(
    "-s", "sloppy", is_flag=True, help="Accepted; unknown options are refused all the same."
)
@click.option("-n", "no_table", is_flag=True, help="Accepted: there is no mtab to write.")
@click.option("-v", "verbose", is_flag=True, help="Say what is mounted.")
@click.option("-N", "namespace", help="Accepted: mount(8) has entered it already.")
def helper(
    source: str,
    target: str,
    options: tuple[str, ...],
    kind: str | None,
    fake: bool,
    read_only: bool,
    writable: bool,
    sloppy: bool,
    no_table: bool,
    verbose: bool,
    namespace: str | None,
) -> int:
    """Mount SOURCE at TARGET, on behalf of mount(8)."""
    from zarrfs.cli.main import run

    flags = [flag for flag, given in (("ro", read_only), ("rw", writable)) if given]
    arguments = [source, target]
    for given in (*options, *flags):
        arguments += ["-o", given]
    if backend := (kind or "").removeprefix("fuse.").partition(".")[2]:
        arguments += ["--type", backend]
    if fake:
        return _check(source, target, (*options, *flags))
    status = run(["mount", *arguments])
    if verbose and status == ExitCode.OK:
        click.echo(f"{source} is mounted at {target}")
    return status


def _check(source: str, target: str, options: Sequence[str]) -> int:
    """`mount -f`: everything but the mount itself."""
    from zarrfs.daemon.mounting import MountSpec, resolve
    from zarrfs.daemon.options import parse_options

    resolve(MountSpec(source, target, options=parse_options(list(options))))
    return ExitCode.OK


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the helper that we are called as; exit with a status that mount(8) knows."""
    from zarrfs.cli.main import run_command

    command, name = helper, "mount.zarrfs"
    if os.path.basename(sys.argv[0]).startswith("umount."):
        from zarrfs.cli.umount_helper import helper as command

        name = "umount.fuse.zarrfs"
    status = run_command(command, sys.argv[1:] if arguments is None else arguments, name)
    sys.exit(_STATUS.get(ExitCode(status), 32))
