"""`zarrfs pack`: copy a hierarchy from any store into a new one of any kind."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from zarrfs.cli.exit_codes import ExitCode
from zarrfs.cli.pack_copy import (
    Copier,
    Item,
    OnCopied,
    Tally,
    check_space,
    finish,
    items_of,
    open_partial,
    partial_name,
)
from zarrfs.cli.quantities_text import count_text, size_text
from zarrfs.errors import InvalidArgumentError, MetadataNotFoundError

if TYPE_CHECKING:
    from zarrfs.storage.storage import Storage


@click.command()
@click.argument("source")
@click.argument("destination", metavar="DEST")
@click.option("-t", "--type", "kind", metavar="KIND", help="What SOURCE is (inferred).")
@click.option("--to", "to_kind", metavar="KIND", help="What DEST becomes (by its name).")
@click.option("--view", metavar="NAME[+NAME]", help="Convert: copy what this view shows.")
@click.option("-j", "--workers", type=click.IntRange(1, 64), default=4, show_default=True)
@click.option("--verify", is_flag=True, help="Read the copy again and compare every byte.")
@click.option("--force", is_flag=True, help="Replace DEST if it is there.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done for a program.")
def pack(
    source: str,
    destination: str,
    kind: str | None,
    to_kind: str | None,
    view: str | None,
    workers: int,
    verify: bool,
    force: bool,
    as_json: bool,
) -> ExitCode:
    """Copy the Zarr store SOURCE into the new store DEST.

    DEST becomes an archive when its name ends in .zip or .ozx (OME-Zarr RFC 9),
    else a folder. Chunks are copied as they are stored, unless --view asks for
    a conversion.

    \b
      zarrfs pack store.zarr store.zarr.zip
      zarrfs pack store.zarr.zip store.zarr
      zarrfs pack old.zarr new.ozx --view v3 --verify

    DEST appears only when the copy is complete. Until then it grows beside it
    under a name with ".partial" in it; run the same command again to continue after an
    interruption.
    """
    destination = os.path.abspath(destination)
    _check_apart(source, destination)
    to_kind = to_kind or ("zip" if destination.endswith((".zip", ".ozx")) else "directory")
    with _open_source(source, kind, view) as storage:
        items = items_of(storage.backend)
        _check(storage, items, source, destination)
        tally, resumed = _copy(storage, items, destination, to_kind, workers, verify, force)
    if as_json:
        told = {"source": source, "destination": destination, **asdict(tally)}
        click.echo(json.dumps(told, indent=2))
    else:
        copied = f"{count_text(tally.files, 'file')}, {size_text(tally.bytes)}"
        known = f", of which {tally.skipped:,} were there already" if resumed else ""
        click.echo(f"{destination}: {copied}{known}{', compared' if verify else ''}")
    return ExitCode.OK


@contextmanager
def _open_source(source: str, kind: str | None, view: str | None) -> Iterator[Storage]:
    from zarrfs.daemon.mounting import viewed
    from zarrfs.daemon.options import MountOptions, parse_options
    from zarrfs.storage.storage import Storage

    options = parse_options([f"view={view}"]) if view else MountOptions()
    storage = Storage.open(source, storage=kind, read_only=True)
    try:
        shown = viewed(storage, options)
        try:
            yield shown
        finally:
            shown.close()
    finally:
        storage.close()


def _check(storage: Storage, items: list[Item], source: str, destination: str) -> None:
    """Raises: MetadataNotFoundError, InvalidArgumentError, NoSpaceError."""
    if next(storage.walk(), None) is None:
        reason = "nothing of Zarr is in it: no zarr.json, .zarray or .zgroup"
        raise MetadataNotFoundError(source, reason)
    if destination.endswith(".ozx") and not any(item.key == "zarr.json" for item in items):
        reason = "an .ozx archive holds format 3, with a zarr.json at its root"
        raise InvalidArgumentError(source, reason, remedy="--view v3")
    check_space(items, destination)


def _check_apart(source: str, destination: str) -> None:
    """Raises: InvalidArgumentError when the copy would be part of what is copied."""
    inside = os.path.realpath(destination) + "/"
    if inside.startswith(os.path.realpath(source).rstrip("/") + "/"):
        raise InvalidArgumentError(destination, f"lies inside the source {source}")


def _copy(
    storage: Storage,
    items: list[Item],
    destination: str,
    kind: str,
    workers: int,
    verify: bool,
    force: bool,
) -> tuple[Tally, bool]:
    target, resumed = open_partial(destination, kind, force=force)
    with target:
        copier = Copier(storage.backend, target.backend, workers=workers)
        try:
            with _progress("copying", items) as on_copied:
                copier.copy(items, on_copied)
            if verify:
                with _progress("comparing", items) as on_compared:
                    copier.compare(items, on_compared)
        except KeyboardInterrupt:
            partial = partial_name(destination)
            click.echo(f"\nzarrfs: {partial} is kept; run the command again to go on", err=True)
            raise
    finish(destination)
    return copier.tally, resumed


@contextmanager
def _progress(what: str, items: list[Item]) -> Iterator[OnCopied]:
    """Show a bar with rate and time left where somebody looks."""
    if not sys.stderr.isatty():
        yield lambda item: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(binary_units=True))
    with Progress(
        *columns,
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as progress:
        task = progress.add_task(what, total=sum(item.size_bytes for item in items))
        yield lambda item: progress.advance(task, item.size_bytes)
