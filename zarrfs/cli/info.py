"""`zarrfs info`: the hierarchy of a store, mounted or not."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from zarrfs.cli.exit_codes import ExitCode
from zarrfs.cli.info_report import NodeReport, report_nodes
from zarrfs.cli.info_views import print_views, report_views
from zarrfs.cli.quantities_text import count_text, shape_text, size_text
from zarrfs.errors import MetadataNotFoundError

if TYPE_CHECKING:
    from rich.text import Text
    from rich.tree import Tree


@click.command()
@click.argument("source")
@click.option("-t", "--type", "kind", metavar="KIND", help="zip, directory, ... (inferred)")
@click.option("--root", metavar="PATH", default="", help="Show only this group or array.")
@click.option("--quick", is_flag=True, help="Do not look for chunks: documents only.")
@click.option("--views", is_flag=True, help="Tell what views show, and who could read it.")
@click.option("--json", "as_json", is_flag=True, help="Print everything for a program to read.")
def info(
    source: str, kind: str | None, root: str, quick: bool, views: bool, as_json: bool
) -> ExitCode:
    """Show the hierarchy of the Zarr store SOURCE.

    SOURCE is an archive, a folder, or any path inside a mount. For each array:
    format, dtype, shape, chunks, codecs, how many of its chunks are stored, and
    its stored and logical size. Missing chunks are not an error: they read as
    the fill value.

    With --views also: what each view (mount -o view=NAME) would show, and how
    many arrays zarr-python, tensorstore, GDAL, netCDF-C and others can read as
    they are stored and through the best view.

    Exits 1 when there is nothing of Zarr in it, or a document cannot be read.
    """
    from zarrfs.storage.storage import Storage

    with Storage.open(source, storage=kind, read_only=True) as storage:
        reports = list(report_nodes(storage, root, count_chunks=not quick))
        what = f"{storage.location} ({storage.backend.kind})"
        of_views = report_views(storage, root) if views else None
    if not reports:
        reason = "nothing of Zarr is in it: no zarr.json, .zarray or .zgroup"
        raise MetadataNotFoundError(f"{source}/{root}" if root else source, reason)
    if as_json:
        nodes = [asdict(report) for report in reports]
        click.echo(json.dumps({"nodes": nodes, **of_views} if of_views else nodes, indent=2))
    else:
        from rich.console import Console

        # Where nobody looks, no line is broken: others will search them.
        width = None if sys.stdout.isatty() else 10_000
        console = Console(highlight=False, width=width)
        console.print(_tree(what, reports))
        if of_views is not None:
            print_views(console, of_views)
    broken = any(report.error for report in reports)
    return ExitCode.CONTENT if broken else ExitCode.OK


def _tree(what: str, reports: Iterable[NodeReport]) -> Tree:
    from rich.text import Text
    from rich.tree import Tree

    top = Tree(Text(what, style="bold"))
    branches: dict[str, Tree] = {}
    for report in reports:
        above = _nearest(report.path, branches)
        name = report.path if above is None else report.path[len(above) :].lstrip("/")
        parent = top if above is None else branches[above]
        branches[report.path] = parent.add(_line(name or "/", report))
    return top


def _nearest(path: str, branches: dict[str, Tree]) -> str | None:
    """Return the path of the node above that has been shown, if there is one."""
    while path:
        path = path.rpartition("/")[0]
        if path in branches:
            return path
    return None


def _line(name: str, report: NodeReport) -> Text:
    from rich.text import Text

    line = Text(name, style="bold cyan" if report.kind == "group" else "bold green")
    line.append(f"  {', '.join(_facts(report))}", style="default not bold")
    if report.chunks is not None:
        line.append(f"\n{', '.join(_chunk_facts(report))}", style="default not bold dim")
    if report.error:
        line.append(f"\n{report.error}", style="not bold red")
    return line


def _facts(report: NodeReport) -> Iterator[str]:
    yield report.kind if report.format is None else f"{report.kind} v{report.format}"
    if report.shape is not None and report.dtype:
        yield f"{report.dtype} {shape_text(report.shape)}"
    if report.attributes:
        yield count_text(report.attributes, "attribute")
    if report.attributes is None and not report.error:
        yield "unreadable attributes"


def _chunk_facts(report: NodeReport) -> Iterator[str]:
    yield f"chunks {shape_text(report.chunks or ())}"
    if report.shards is not None:
        yield f"shards {shape_text(report.shards)}"
    yield " > ".join(report.codecs or ()) or "uncompressed"
    if report.chunks_present is not None and report.chunks_total is not None:
        unit = "shard" if report.shards else "chunk"
        yield f"{report.chunks_present:,} of {count_text(report.chunks_total, unit)}"
    if report.stored_bytes is not None:
        logical = "" if report.logical_bytes is None else f" for {size_text(report.logical_bytes)}"
        yield f"{size_text(report.stored_bytes)}{logical}"
