"""What is wrong with an archive without making it unusable.

Collected while an archive is read, logged once, and shown by `zarrfs info` and
`zarrfs verify`. A collection belongs to the thread that reads the archive
until it is handed on.
"""

from __future__ import annotations

import logging
from typing import Final, NamedTuple

KEPT: Final = 1000
"""Problems remembered in full; beyond that they are only counted."""
LOGGED: Final = 10

log = logging.getLogger(__name__)


class Problem(NamedTuple):
    """One entry, or the archive itself (an empty name), and what is wrong with it."""

    name: bytes
    reason: str
    hidden: bool = False
    """Whether the entry is left out of the tree."""

    def __str__(self) -> str:
        subject = ascii(self.name.decode("utf-8", "backslashreplace"))[1:-1]
        effect = ", so it is not shown" if self.hidden else ""
        return f"{subject or 'archive'}: {self.reason}{effect}"


class Problems:
    """A bounded list of problems, and how many there were."""

    def __init__(self) -> None:
        self.kept: list[Problem] = []
        self.count = 0

    def add(self, problem: Problem) -> None:
        self.count += 1
        if len(self.kept) < KEPT:
            self.kept.append(problem)

    def log(self, subject: str) -> None:
        for problem in self.kept[:LOGGED]:
            log.warning("%s: %s", subject, problem)
        if self.count > LOGGED:
            log.warning(
                "%s: %d more problems; 'zarrfs verify' lists them", subject, self.count - LOGGED
            )
