"""`zarrfs install-helper`: let mount(8), fstab and systemd find us."""

from __future__ import annotations

import os
import shutil
import sys

import click

from zarrfs.cli.exit_codes import ExitCode
from zarrfs.errors import DeniedError, ExistsError, PathNotFoundError

HELPER = "/sbin/mount.zarrfs"


@click.command("install-helper")
@click.option(
    "--to", "path", default=HELPER, show_default=True, help="Where mount(8) looks for helpers."
)
@click.option("--remove", is_flag=True, help="Take the helper away again.")
@click.option("--force", is_flag=True, help="Replace a file that is not ours.")
def install_helper(path: str, remove: bool, force: bool) -> ExitCode:
    """Make `mount -t zarrfs` and fstab lines of type zarrfs work.

    Puts a link to mount.zarrfs where mount(8) looks for it. Needs root.
    """
    program = find_helper()
    ours = os.path.islink(path) and os.path.basename(os.readlink(path)) == "mount.zarrfs"
    if os.path.lexists(path) and not (ours or force):
        raise ExistsError(path, "is not a link of ours", remedy="--force replaces it")
    try:
        if os.path.lexists(path):
            os.unlink(path)
        if remove:
            click.echo(f"{path} is removed")
            return ExitCode.OK
        os.symlink(program, path)
    except PermissionError as error:
        raise DeniedError(path, "only root may write there", remedy="run it with sudo") from error
    click.echo(f"{path} -> {program}")
    click.echo("for example in /etc/fstab:  /srv/a.zarr.zip  /mnt/a  zarrfs  ro,_netdev  0 0")
    return ExitCode.OK


def find_helper() -> str:
    """Return the path of the installed mount.zarrfs. Raises: PathNotFoundError."""
    beside = os.path.join(os.path.dirname(os.path.abspath(sys.argv[0])), "mount.zarrfs")
    found = beside if os.access(beside, os.X_OK) else shutil.which("mount.zarrfs")
    if found is None:
        raise PathNotFoundError("mount.zarrfs", "not installed", remedy="pip install zarrfs")
    return os.path.abspath(found)
