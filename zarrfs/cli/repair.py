"""`zarrfs repair`: put right what an interrupted writer left of an archive."""

from __future__ import annotations

import json
import os

import click

from zarrfs.cli.exit_codes import ExitCode
from zarrfs.errors import PathNotFoundError


@click.command()
@click.argument("archive")
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done for a program.")
def repair(archive: str, dry_run: bool, as_json: bool) -> ExitCode:
    """Make ARCHIVE whole again after a crash, whoever wrote it.

    Changes of a zarrfs that was killed are completed from its journal (the next
    mount does the same). An archive whose directory is missing or cut off, as
    after a program that never closed it, gets a new directory of all entries
    that are whole. Nothing that is in the archive is overwritten or cut off.

    Exits 0 when nothing is wrong any more; 1 when something is left that cannot
    be put right, or with --dry-run when there is something to do. Use "zarrfs
    verify" to check the content as well.
    """
    from zarrfs.storage.zip import repair as zip_repair

    done = zip_repair.repair(archive, dry_run=dry_run)
    # A new archive whose first writer crashed has a journal before it has a file.
    if not done.actions and not os.path.exists(archive):
        raise PathNotFoundError(archive)
    if as_json:
        click.echo(json.dumps({**done._asdict(), "dry_run": dry_run}, indent=2))
    else:
        for action in done.actions:
            click.echo(f"{archive}: {'would ' if dry_run else ''}{action}")
        for fault in done.remaining:
            click.echo(f"{archive}: {fault}")
        if not done.actions and not done.remaining:
            click.echo(f"{archive}: nothing to repair")
    wrong = done.remaining or (dry_run and done.actions)
    return ExitCode.CONTENT if wrong else ExitCode.OK
