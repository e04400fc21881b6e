"""`zarrfs install-helper`: let mount(8), fstab and systemd find us."""

from __future__ import annotations

import os
import shutil
import sys

import click

from zarrfs.cli.exit_codes import ExitCode
from zarrfs.errors import DeniedError, ExistsError, PathNotFoundError

HELPER = "/sbin/mount.zarrfs"
_OTHER_NAMES = ("mount.fuse.zarrfs", "umount.fuse.zarrfs")
"""Our mounts are of the type fuse.zarrfs: what `mount -o remount` and `umount` look for."""


@click.command("install-helper")
@click.option(
    "--to", "path", default=HELPER, show_default=True, help="Where mount(8) looks for helpers."
)
@click.option("--remove", is_flag=True, help="Take the helpers away again.")
@click.option("--force", is_flag=True, help="Replace files that are not ours.")
def install_helper(path: str, remove: bool, force: bool) -> ExitCode:
    """Make `mount -t zarrfs` and fstab lines of type zarrfs work.

    Puts a link to mount.zarrfs where mount(8) looks for it, and beside it those
    by which `mount -o remount` and `umount` find it. Needs root.
    """
    program = find_helper()
    links = [path, *(os.path.join(os.path.dirname(path), name) for name in _OTHER_NAMES)]
    for link in links:
        if os.path.lexists(link) and not (_is_ours(link) or force):
            raise ExistsError(link, "is not a link of ours", remedy="--force replaces it")
    try:
        for link in filter(os.path.lexists, links):
            os.unlink(link)
            if remove:
                click.echo(f"{link} is removed")
        for link in [] if remove else links:
            os.symlink(program, link)
            click.echo(f"{link} -> {program}")
    except PermissionError as error:
        raise DeniedError(path, "only root may write there", remedy="run it with sudo") from error
    if not remove:
        click.echo("for example in /etc/fstab:  /srv/a.zarr.zip  /mnt/a  zarrfs  ro,_netdev  0 0")
    return ExitCode.OK


def _is_ours(link: str) -> bool:
    return os.path.islink(link) and os.path.basename(os.readlink(link)) == "mount.zarrfs"


def find_helper() -> str:
    """Return the path of the installed mount.zarrfs. Raises: PathNotFoundError."""
    # `zarrfs` may be a link from /usr/bin into a virtual environment.
    program = os.path.abspath(sys.argv[0])
    beside = [
        os.path.join(os.path.dirname(path), "mount.zarrfs")
        for path in (program, os.path.realpath(program))
    ]
    found = next((path for path in beside if os.access(path, os.X_OK)), None)
    found = found or shutil.which("mount.zarrfs")
    if found is None:
        raise PathNotFoundError("mount.zarrfs", "not installed", remedy="pip install zarrfs")
    return os.path.abspath(found)
