"""Who is told whether a mount came up."""

from __future__ import annotations

from typing import Protocol

from zarrfs.errors import ZarrfsError


class StartReport(Protocol):
    """Who is told whether a mount came up: exactly one of these, once."""

    def serving(self) -> bool:
        """Return whether anybody wanted to know; otherwise the mount is taken down."""

    def failed(self, error: ZarrfsError | OSError) -> None: ...
