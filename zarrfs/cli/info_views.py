"""`zarrfs info --views`: which views a store supports, and who reads it through which.

Owns the text; the answers are `zarrfs.views.support`'s.
"""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from zarrfs.cli.quantities_text import count_text

if TYPE_CHECKING:
    from rich.console import Console

    from zarrfs.storage.storage import Storage


def report_views(storage: Storage, root: str) -> dict[str, Any]:
    """Return everything that `print_views` shows, as plain values."""
    from zarrfs.views.support import ANY_PROGRAM, supported_readers, supported_views

    # What a view leaves out is in the report: a mount would log it.
    logging.getLogger("zarrfs.views").setLevel(logging.ERROR)
    views = supported_views(storage.backend, root)
    readers = supported_readers(storage.backend, root)
    return {
        "views": [
            {
                "name": view.name,
                "description": view.description,
                "programs": ANY_PROGRAM.get(view.name, ""),
                "arrays": view.shown,
                "hidden": [{"path": h.path, "reason": h.reason} for h in view.hidden],
            }
            for view in views
        ],
        "readers": [asdict(reader) | {"best_view": reader.best_view} for reader in readers],
    }


def print_views(console: Console, report: dict[str, Any]) -> None:
    """Print two tables: the views, and what well-known readers read."""
    from rich.table import Table

    views = Table("view", "arrays", "shows", title="Views (-o view=NAME)", title_justify="left")
    for view in report["views"]:
        views.add_row(view["name"], f"{view['arrays']:,}", view["description"])
    console.print(views)
    readers = Table(
        "reader",
        "as stored",
        "best view",
        title="Arrays each reader can read",
        title_justify="left",
    )
    for reader in report["readers"]:
        best = reader["best_view"]
        through = f"{best}: {reader['by_view'][best]:,}" if best else "as stored"
        readers.add_row(reader["reader"], f"{reader['as_stored']:,}", through)
    console.print(readers)
    for path, reasons in _reasons(report).items():
        console.print(f"{path or '/'}: {'; '.join(reasons)}", markup=False)


def _reasons(report: dict[str, Any]) -> dict[str, list[str]]:
    """Return what views leave out, by array; the same reason once."""
    found: dict[str, dict[str, list[str]]] = {}
    for view in report["views"]:
        for hidden in view["hidden"]:
            reason = hidden["reason"].partition(": ")[2]
            found.setdefault(hidden["path"], {}).setdefault(reason, []).append(view["name"])
    return {
        path: [f"not in {count_text(len(names), 'view')} ({', '.join(names)}): {reason}"
               for reason, names in reasons.items()]
        for path, reasons in found.items()
    }  # fmt: skip
