"""`zarrfs status`: every mount of this user's supervisors, how it is and what it does."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

import click

from zarrfs.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from rich.table import Table

_BEAT_S = 0.1
"""How long workers may take to report what they did up to now."""
_STYLES = {"serving": "green", "idle": "cyan", "given up": "red", "waiting": "yellow"}


@click.command()
@click.argument("target", required=False, type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print everything for a program to read.")
@click.option("--watch", is_flag=True, help="Show a live table until interrupted.")
@click.option("--interval", default=1.0, show_default=True, help="Seconds between two looks.")
def status(target: str | None, as_json: bool, watch: bool, interval: float) -> ExitCode:
    """Show the mounts of this user: state, workers, operations, latencies, errors.

    TARGET (a mounted folder, or a mount's name) shows that mount alone. Exits 3
    when a mount that should answer does not, or when TARGET is not mounted.
    """
    if watch:
        return _watch(target, interval)
    mounts = fetch(target)
    if as_json:
        click.echo(json.dumps(mounts, indent=2))
    elif not mounts:
        click.echo("nothing is mounted" if target is None else f"{target}: not mounted by zarrfs")
    else:
        from rich.console import Console

        Console().print(_table(mounts, {}, 0.0))
    healthy = all(mount["state"] in ("serving", "idle") for mount in mounts)
    return ExitCode.OK if healthy and (mounts or target is None) else ExitCode.SYSTEM


def fetch(target: str | None = None) -> list[dict[str, Any]]:
    """Return the status of every mount within reach, or of one."""
    from zarrfs.daemon.control import ask_all

    if list(ask_all("report")):
        time.sleep(_BEAT_S)
    mounts = [mount for _, answer in ask_all("status") for mount in answer["mounts"]]
    if target is not None:
        wanted = os.path.abspath(target)
        mounts = [m for m in mounts if wanted == m["target"] or target == m["name"]]
    return sorted(mounts, key=lambda mount: str(mount["target"]))


def _watch(target: str | None, interval_s: float) -> ExitCode:
    from rich.live import Live

    before: dict[str, dict[str, Any]] = {}
    with Live(auto_refresh=False) as live:
        try:
            while True:
                mounts = fetch(target)
                live.update(_table(mounts, before, interval_s + _BEAT_S), refresh=True)
                before = {mount["target"]: mount for mount in mounts}
                time.sleep(interval_s)
        except KeyboardInterrupt:
            return ExitCode.OK


def _table(
    mounts: list[dict[str, Any]], before: dict[str, dict[str, Any]], elapsed_s: float
) -> Table:
    """Lay the mounts out, two lines each, so that 80 columns are enough."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("MOUNT", overflow="fold")
    for title in ("UP", "PID", "RST", "OPS", "OPS/S", "P50", "P99", "READ", "WRITTEN", "ERR"):
        table.add_column(title, justify="right", no_wrap=True)
    for mount in mounts:
        state = mount["state"]
        previous = before.get(mount["target"])
        table.add_row(
            f"{mount['name']} [{_STYLES.get(state, 'magenta')}]{state}[/]",
            *_figures(mount, previous, elapsed_s),
        )
        table.add_row(f"[dim]{mount['target']}[/]")
        if mount.get("reason"):
            table.add_row(f"[red]{mount['reason']}[/]")
    return table


def _figures(
    mount: dict[str, Any], before: dict[str, Any] | None, elapsed_s: float
) -> tuple[str, ...]:
    statistics = mount.get("statistics") or {}
    requests = statistics.get("requests", 0)
    rate = ""
    if before is not None and elapsed_s:
        done = requests - (before.get("statistics") or {}).get("requests", 0)
        rate = f"{max(done, 0) / elapsed_s:.0f}"
    buckets = [
        sum(column) for column in zip(*statistics.get("latencies", {}).values(), strict=True)
    ]
    return (
        _duration(mount["uptime_s"]),
        str(mount.get("pid") or "-"),
        str(mount["restarts"]),
        _count(requests),
        rate,
        _latency(buckets, 0.5),
        _latency(buckets, 0.99),
        _size(statistics.get("bytes_read", 0)),
        _size(statistics.get("bytes_written", 0)),
        _count(sum((statistics.get("errors") or {}).values())),
    )


def _latency(buckets: list[int], fraction: float) -> str:
    from zarrfs.frontends.native.counters import percentile_s

    seconds = percentile_s(buckets, fraction)
    if not seconds:
        return "-"
    return f"{seconds * 1e6:.0f}us" if seconds < 1e-3 else f"{seconds * 1e3:.0f}ms"


def _duration(seconds: float) -> str:
    """Write a duration with its largest unit alone.

    >>> _duration(59), _duration(7200), _duration(200000)
    ('59s', '2h', '2d')
    """
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f}{unit}"
    return f"{seconds:.0f}s"


def _count(number: float) -> str:
    return _scaled(number, 1000, ("", "k", "M", "G", "T"))


def _size(number: float) -> str:
    return _scaled(number, 1024, ("B", "K", "M", "G", "T"))


def _scaled(number: float, base: int, units: tuple[str, ...]) -> str:
    """Write a number in at most five characters.

    >>> _scaled(999, 1000, ("", "k")), _scaled(12345, 1000, ("", "k"))
    ('999', '12.3k')
    """
    for unit in units[:-1]:
        if number < base:
            return f"{number:.0f}{unit}" if unit == units[0] else f"{number:.3g}{unit}"
        number /= base
    return f"{number:.3g}{units[-1]}"
