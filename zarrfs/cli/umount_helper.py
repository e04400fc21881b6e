"""`umount.fuse.zarrfs`: what umount(8) runs for our mounts, so that it waits for the last byte.

Without it `umount` returns when the name is gone, while an archive may still be
committed. `umount -f` and `-r` are left to umount(8) itself.

Source: umount(8), "EXTERNAL HELPERS": `umount.SUFFIX DIR [-flnrv] [-N NAMESPACE]
[-t TYPE.SUBTYPE]`; the suffix is the type in /proc/mounts, fuse.zarrfs.
"""

from __future__ import annotations

import os

import click

from zarrfs.cli.exit_codes import ExitCode


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("target")
@click.option("-f", "force", is_flag=True, help="End the connection, whoever uses it.")
@click.option("-l", "lazy", is_flag=True, help="Detach now; end when files are closed.")
@click.option("-r", "read_only", is_flag=True, help="Make it read-only where it cannot go.")
@click.option("-n", "no_table", is_flag=True, help="Accepted: there is no mtab to write.")
@click.option("-v", "verbose", is_flag=True, help="Say what is unmounted.")
@click.option("-N", "namespace", help="Accepted: umount(8) has entered it already.")
@click.option("-t", "kind", help="Accepted: the type is known.")
def helper(
    target: str,
    force: bool,
    lazy: bool,
    read_only: bool,
    no_table: bool,
    verbose: bool,
    namespace: str | None,
    kind: str | None,
) -> int:
    """Unmount TARGET on behalf of umount(8), and wait until all is written."""
    from zarrfs.cli.main import run

    if force or read_only:
        flags = [flag for flag, given in (("-f", force), ("-l", lazy), ("-r", read_only)) if given]
        os.execvp("umount", ["umount", "-i", *flags, "--", target])
    status = run(["unmount", *(["--lazy"] if lazy else []), "--", target])
    if verbose and status == ExitCode.OK:
        click.echo(f"{target} is unmounted")
    return status
