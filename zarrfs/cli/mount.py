"""`zarrfs mount`: parse the command line, check it, and start what serves."""

from __future__ import annotations

import json

import click

from zarrfs.cli.exit_codes import ExitCode
from zarrfs.daemon.background import serve, start_background
from zarrfs.daemon.background_log import STDERR, SYSLOG, log_to
from zarrfs.daemon.mounting import MountSpec, resolve
from zarrfs.daemon.mounting_table import canonical_target
from zarrfs.daemon.options import FLAGS, VALUED, parse_options
from zarrfs.daemon.single import was_left
from zarrfs.errors import ZarrfsError


def _options_help() -> str:
    rows = [(name, row.help) for name, row in FLAGS.items() if row.help]
    rows += [(f"{name}={row.metavar}", row.help) for name, row in VALUED.items()]
    lines = [f"  {name:28} {help_text}" for name, help_text in rows]
    generic = "  defaults, _netdev, nofail, x-systemd.*, ... are accepted as in fstab"
    return "\b\nOptions of -o (several joined by commas, as in mount(8)):\n" + "\n".join(
        [*lines, generic]
    )


@click.command(epilog=_options_help())
@click.argument("source")
@click.argument("target")
@click.option("-t", "--type", "kind", metavar="KIND", help="zip, directory, memory, ... (inferred)")
@click.option("-o", "options", metavar="OPTIONS", multiple=True, help="Mount options; see below.")
@click.option("-f", "--foreground", is_flag=True, help="Stay, and unmount on Ctrl-C.")
@click.option("--mkdir", is_flag=True, help="Make TARGET if it is not there.")
@click.option("--create", is_flag=True, help="Make a new, empty store at SOURCE.")
@click.option(
    "--log",
    metavar="WHERE",
    default=SYSLOG,
    show_default=True,
    help="Where messages go: syslog, stderr or a file. In the foreground: stderr.",
)
@click.option("-v", "--verbose", is_flag=True, help="Log each request as well.")
@click.option("--json", "as_json", is_flag=True, help="Print what was mounted for a program.")
def mount(
    source: str,
    target: str,
    kind: str | None,
    options: tuple[str, ...],
    foreground: bool,
    mkdir: bool,
    create: bool,
    log: str,
    verbose: bool,
    as_json: bool,
) -> ExitCode:
    """Mount the Zarr store SOURCE at the folder TARGET.

    SOURCE is a zip archive (.zip, .ozx), a folder, or "memory:" for an empty
    store in memory. The command returns when the mount answers; a process in
    the background serves it until "zarrfs unmount TARGET".

    \b
      zarrfs mount data.zarr.zip /mnt/data
      zarrfs mount data.zarr.zip /mnt/data -o root=images/raw,allow_other
      zarrfs mount --create new.zarr.zip /mnt/new --mkdir
      zarrfs mount memory: /mnt/scratch -o size=2GiB

    An archive is mounted read-only unless -o rw is given, a folder read-write
    unless -o ro is. The views of -o view= are v2, v3, unsharded, plain,
    decoded, filled, consolidated, flat and netcdf.
    """
    chosen = parse_options([*options, *(["debug"] if verbose else [])])
    spec = MountSpec(source, target, kind, create, chosen)
    left = foreground and was_left(canonical_target(target))
    spec = resolve(spec, mkdir=mkdir, left=left)
    level = "debug" if chosen.debug else "info"
    if foreground:
        log_to(STDERR if log == SYSLOG else log, level)
        return _serve_here(spec)
    pid = start_background(spec, log=log, log_level=level)
    if as_json:
        click.echo(json.dumps({"source": spec.source, "target": spec.target, "pid": pid}))
    return ExitCode.OK


class _Raising:
    """In the foreground a failure is simply the command's own."""

    def __init__(self) -> None:
        self.error: ZarrfsError | OSError | None = None

    def serving(self) -> bool:
        return True

    def failed(self, error: ZarrfsError | OSError) -> None:
        self.error = error


def _serve_here(spec: MountSpec) -> ExitCode:
    report = _Raising()
    serve(spec, report)
    if report.error is not None:
        raise report.error
    return ExitCode.OK
