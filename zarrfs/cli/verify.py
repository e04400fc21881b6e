"""`zarrfs verify`: is everything in a store as it should be?"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from zarrfs.cli.exit_codes import ExitCode
from zarrfs.cli.quantities_text import count_text, size_text
from zarrfs.cli.verify_checks import Fault, Tally, Verifier
from zarrfs.errors import MetadataNotFoundError

if TYPE_CHECKING:
    from rich.progress import Progress


@click.command()
@click.argument("source")
@click.option("-t", "--type", "kind", metavar="KIND", help="zip, directory, ... (inferred)")
@click.option("--threads", type=click.IntRange(1, 64), help="How many threads read and decode.")
@click.option("--json", "as_json", is_flag=True, help="Print the result for a program to read.")
def verify(source: str, kind: str | None, threads: int | None, as_json: bool) -> ExitCode:
    """Check the Zarr store SOURCE: every document, chunk and other file.

    SOURCE is an archive, a folder, or a path inside a mount. Documents must
    follow the specification; every file must be readable and, in an archive,
    match its CRC-32; every chunk must decode to exactly the size it should have.
    Nothing is changed.

    Exits 0 when all is well, 1 with a list when it is not. Chunks whose codec
    this machine lacks are read but not decoded; they are mentioned, not failed.
    """
    from zarrfs.storage.storage import Storage

    with Storage.open(source, storage=kind, read_only=True) as storage:
        verifier = Verifier(storage, threads=threads)
        faults = list(_with_progress(verifier))
    tally = verifier.tally
    if as_json:
        result = {"source": source, **asdict(tally), "faults": [f._asdict() for f in faults]}
        click.echo(json.dumps(result, indent=2))
    else:
        _print(tally, faults)
    if not faults and tally.nodes == 0:
        reason = "nothing of Zarr is in it: no zarr.json, .zarray or .zgroup"
        raise MetadataNotFoundError(source, reason)
    return ExitCode.CONTENT if faults else ExitCode.OK


def _with_progress(verifier: Verifier) -> Iterator[Fault]:
    """Yield the faults; show how far it is where somebody looks."""
    if not sys.stderr.isatty():
        yield from verifier.faults()
        return
    with _progress_bar() as progress:
        task = progress.add_task("verifying", total=verifier.count_keys())
        yield from verifier.faults(lambda: progress.advance(task))


def _progress_bar() -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("files"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


def _print(tally: Tally, faults: list[Fault]) -> None:
    for fault in faults:
        click.echo(str(fault))
    for path, reason in sorted(tally.undecodable.items()):
        click.echo(f"{path or '/'}: chunks not decoded: {reason}")
    looked_at = ", ".join(
        [
            count_text(tally.nodes, "node"),
            count_text(tally.chunks, "chunk"),
            count_text(tally.other_files, "other file"),
            size_text(tally.bytes_read),
        ]
    )
    verdict = click.style("all is well", fg="green")
    if faults:
        verdict = click.style(count_text(len(faults), "fault"), fg="red")
    click.echo(f"{looked_at}: {verdict}")
