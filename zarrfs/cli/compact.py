"""`zarrfs compact`: an archive without what was replaced and deleted."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from zarrfs.cli.exit_codes import ExitCode
from zarrfs.cli.quantities_text import size_text


@click.command()
@click.argument("archive")
@click.option("-n", "--dry-run", is_flag=True, help="Only say about how much would be freed.")
@click.option("--json", "as_json", is_flag=True, help="Print the sizes for a program to read.")
def compact(archive: str, dry_run: bool, as_json: bool) -> ExitCode:
    """Rewrite ARCHIVE without what nobody can see any more.

    A mounted archive only grows: what is replaced or deleted stays in the file
    until it is compacted. The living entries are copied, as they are, to a file
    beside the archive, which takes its name when it is complete; so the archive
    is whole at every moment, and the folder needs room for it twice. It must
    not be mounted for writing meanwhile; readers go on with the old one.
    """
    before_bytes, after_bytes = _estimate(archive) if dry_run else _compact(archive)
    if as_json:
        sizes = {"before_bytes": before_bytes, "after_bytes": after_bytes, "dry_run": dry_run}
        click.echo(json.dumps(sizes, indent=2))
        return ExitCode.OK
    freed = size_text(before_bytes - after_bytes)
    becomes = "would become about" if dry_run else "became"
    click.echo(
        f"{archive}: {size_text(before_bytes)} {becomes} {size_text(after_bytes)}, {freed} less"
    )
    return ExitCode.OK


def _estimate(path: str) -> tuple[int, int]:
    from zarrfs.storage.zip.archive import Archive
    from zarrfs.storage.zip.compact import reclaimable_bytes

    archive = Archive.open(path)
    try:
        return archive.size_bytes, archive.size_bytes - reclaimable_bytes(archive)
    finally:
        archive.close()


def _compact(path: str) -> tuple[int, int]:
    from zarrfs.storage.zip import compact as zip_compact

    with _progress(os.path.basename(path)) as on_progress:
        done = zip_compact.compact(path, on_progress)
    return done.before_bytes, done.after_bytes


@contextmanager
def _progress(name: str) -> Iterator[Callable[[int, int], object]]:
    """Show a bar where somebody looks."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(f"compacting {name}", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
