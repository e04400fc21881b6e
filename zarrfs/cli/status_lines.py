"""What `zarrfs status` shows, as lines that fit 80 columns.

Each mount has a line for its name and target, which may be long and is then
wrapped, and one of figures below it, all of a width.
"""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING, Any, Final

from zarrfs.daemon.statistics import all_latencies, percentiles_s

if TYPE_CHECKING:
    from rich.text import Text

_STYLES: Final = {"serving": "green", "idle": "cyan", "given up": "red", "waiting": "yellow"}
_COLUMNS: Final = (
    *(("STATE", -9), ("UP", 3), ("PID", 7), ("RST", 3), ("OPS", 5), ("OPS/S", 5)),
    *(("P50", 5), ("P99", 5), ("READ", 5), ("WRITE", 5), ("CACHE", 5), ("PEND", 5), ("ERR", 4)),
)
"""Titles and widths; what is negative begins at the left."""


def status_text(mounts: list[dict[str, Any]], before: dict[str, dict[str, Any]]) -> Text:
    """Lay the mounts out; rates are those since `before`, or of all the time."""
    from rich.text import Text

    text = Text(_row([title for title, _ in _COLUMNS]), style="bold", overflow="fold")
    for mount in mounts:
        text.append("\n")
        text.append_text(_mount_text(mount, before.get(mount["target"])))
    return text


def _mount_text(mount: dict[str, Any], before: dict[str, Any] | None) -> Text:
    from rich.text import Text

    figures = _row(_figures(mount, before))
    width = len(mount["state"])
    text = Text.assemble(
        (_harmless(mount["name"]), "bold"), " ", (_harmless(mount["target"]), "dim"), "\n",
        (figures[:width], _STYLES.get(mount["state"], "magenta")), figures[width:],
    )  # fmt: skip
    for remark, style in _remarks(mount):
        text.append(f"\n{_harmless(remark)}", style)
    return text


def _harmless(text: str) -> str:
    """Spell control characters out: root is shown what other users' processes say."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def _row(cells: list[str]) -> str:
    padded = (
        cell.ljust(-width) if width < 0 else cell.rjust(width)
        for cell, (_, width) in zip(cells, _COLUMNS, strict=True)
    )
    return " ".join(padded).rstrip()


def _figures(mount: dict[str, Any], before: dict[str, Any] | None) -> list[str]:
    statistics = mount.get("statistics") or {}
    percentiles = percentiles_s(all_latencies(statistics))
    return [
        mount["state"],
        _duration(mount["uptime_s"]),
        str(mount.get("pid") or "-"),
        str(mount["restarts"]),
        _count(statistics.get("requests", 0)),
        _rate(mount, before),
        _latency(percentiles["p50"]),
        _latency(percentiles["p99"]),
        _size(statistics.get("bytes_read", 0)),
        _size(statistics.get("bytes_written", 0)),
        _hits(statistics.get("cache")),
        _size(statistics["pending_bytes"]) if "pending_bytes" in statistics else "-",
        _count(sum((statistics.get("errors") or {}).values())),
    ]


def _remarks(mount: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what goes below the figures: the reason of a state, a notice, the last error."""
    statistics = mount.get("statistics") or {}
    remarks = []
    if mount.get("reason"):
        remarks.append((mount["reason"], "red"))
    if last := statistics.get("last_error"):
        time_s, operation, code, reason = last
        age = _duration(max(time.time() - time_s, 0))
        name = errno.errorcode.get(code, str(code))
        text = f"last error, {age} ago: {operation}: {reason or os.strerror(code)} ({name})"
        remarks.append((text, "red"))
    return remarks


def _rate(mount: dict[str, Any], before: dict[str, Any] | None) -> str:
    done = (mount.get("statistics") or {}).get("requests", 0)
    elapsed_s = mount["uptime_s"] if mount["state"] == "serving" else 0
    if before is not None:
        done -= (before.get("statistics") or {}).get("requests", 0)
        elapsed_s = mount["looked_s"] - before["looked_s"]
    return _count(max(done, 0) / elapsed_s) if elapsed_s >= 0.1 else "-"


def _hits(cache: dict[str, int] | None) -> str:
    asked = cache["hits"] + cache["misses"] if cache else 0
    return f"{100 * cache['hits'] // asked}%" if cache and asked else "-"


def _latency(seconds: float) -> str:
    """Write a latency in at most five characters.

    >>> _latency(131e-6), _latency(0.034), _latency(17.2)
    ('131us', '34ms', '17s')
    """
    if not seconds:
        return "-"
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f}us"
    return f"{seconds * 1e3:.0f}ms" if seconds < 1 else f"{seconds:.0f}s"


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
            return f"{number:.0f}{unit}" if unit == units[0] else f"{_short(number)}{unit}"
        number /= base
    return f"{_short(number)}{units[-1]}"


def _short(number: float) -> str:
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"
