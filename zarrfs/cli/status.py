"""`zarrfs status`: every mount of this user's supervisors, how it is and what it does."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from typing import Any

import click

from zarrfs.cli.exit_codes import ExitCode

_BEAT_S = 0.1
"""How long workers may take to report what they did up to now."""


@click.command()
@click.argument("target", required=False, type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print everything for a program to read.")
@click.option("--watch", is_flag=True, help="Show a live table until interrupted.")
@click.option("--interval", default=1.0, show_default=True, help="Seconds between two looks.")
def status(target: str | None, as_json: bool, watch: bool, interval: float) -> ExitCode:
    """Show the mounts of this user: state, workers, operations, latencies, errors.

    TARGET (a mounted folder, or a mount's name) shows that mount alone. Exits 3
    when a mount that should answer does not, or when TARGET is not mounted.

    UP is the time in the present state, RST how often the worker was replaced,
    OPS the requests of the kernel, OPS/S their rate (in the last interval with
    --watch), P50 and P99 what half and 99 % of them kept to, CACHE how many
    reads of packed entries needed no unpacking, PEND what is written and not
    yet in the archive, ERR the requests that failed. A mount without a supervisor
    is alone: nothing more is known of it.
    """
    if watch:
        return _watch(target, interval)
    mounts = fetch(target)
    if as_json:
        click.echo(json.dumps(list(map(_for_programs, mounts)), indent=2))
    elif not mounts:
        click.echo(_nothing(target))
    else:
        from rich.console import Console

        from zarrfs.cli.status_lines import status_text

        Console().print(status_text(mounts, {}))
    healthy = all(mount["state"] in ("serving", "idle", "alone") for mount in mounts)
    return ExitCode.OK if healthy and (mounts or target is None) else ExitCode.SYSTEM


def fetch(target: str | None = None) -> list[dict[str, Any]]:
    """Return the status of every mount within reach, or of one."""
    from zarrfs.daemon.control import ask_all
    from zarrfs.daemon.mounting_table import canonical_target

    if list(ask_all("report")):
        time.sleep(_BEAT_S)
    mounts = [mount for _, answer in ask_all("status") for mount in answer["mounts"]]
    mounts += _unsupervised({mount["target"] for mount in mounts})
    for mount in mounts:
        mount["looked_s"] = time.monotonic()
    if target is not None:
        wanted = canonical_target(target)
        mounts = [m for m in mounts if wanted == m["target"] or target == m["name"]]
    return sorted(mounts, key=lambda mount: str(mount["target"]))


def _unsupervised(known: set[str]) -> Iterator[dict[str, Any]]:
    """Yield this user's other mounts, of which only the kernel's table tells."""
    from zarrfs.daemon.background_records import read_record
    from zarrfs.daemon.mounting_table import mounts

    for mount in mounts():
        if not mount.is_ours or mount.target in known or os.geteuid() not in (0, mount.user_id):
            continue
        record = read_record(mount)
        yield {
            "name": os.path.basename(mount.target),
            "source": mount.source,
            "target": mount.target,
            "type": None,
            "state": "alone",
            "reason": "it has no supervisor: that was killed, or libfuse or a program serves it",
            "uptime_s": 0.0,
            "pid": record.pid if record else None,
            "supervisor": None,
            "restarts": 0,
            "memory_bytes": None,
            "statistics": {},
        }


def _for_programs(mount: dict[str, Any]) -> dict[str, Any]:
    from zarrfs.daemon.statistics import summarised

    known = {key: value for key, value in mount.items() if key != "looked_s"}
    return {**known, "statistics": summarised(mount.get("statistics") or {})}


def _watch(target: str | None, interval_s: float) -> ExitCode:
    from rich.console import Console
    from rich.live import Live

    from zarrfs.cli.status_lines import status_text

    console = Console()
    before: dict[str, dict[str, Any]] = {}
    with Live(console=console, auto_refresh=False) as live:
        try:
            while True:
                mounts = fetch(target)
                shown = status_text(mounts, before) if mounts else _nothing(target)
                if console.is_terminal:
                    live.update(shown, refresh=True)
                else:
                    console.print(shown)  # one table after the other, for who reads a pipe
                before = {mount["target"]: mount for mount in mounts}
                time.sleep(interval_s)
        except KeyboardInterrupt:
            return ExitCode.OK


def _nothing(target: str | None) -> str:
    return "nothing is mounted" if target is None else f"{target}: not mounted by zarrfs"
