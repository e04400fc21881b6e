"""What is wrong with a configuration file, gathered: each with its line and key path.

Pure; used by the one thread that reads a file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from zarrfs.errors import InvalidArgumentError

KeyPath: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a configuration file, and where."""

    file: str
    line: int
    """From 1; 0 when it concerns no line."""
    key: str
    """The key path, such as `mounts[2].target`; empty for the whole file."""
    text: str
    transient: bool = False
    """It may be mended without touching the file: a source that is missing now."""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.key}: {self.text}" if self.key else f"{place}: {self.text}"


class ConfigError(InvalidArgumentError):
    """The configuration file has problems."""

    def __init__(self, file: str, problems: tuple[Problem, ...]) -> None:
        super().__init__(file, "\n".join(map(str, problems)))
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


class Problems:
    """Gathers the problems of one file instead of raising them one by one."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._reported: set[KeyPath] = set()
        self._found: list[Problem] = []
        self.lines: dict[KeyPath, int] = {}
        """Where each key stands."""

    def report(
        self,
        path: KeyPath,
        text: str,
        *,
        line: int | None = None,
        transient: bool = False,
        more: bool = False,
    ) -> None:
        """Note a problem. `more` is one that has nothing to do with what the key has already."""
        if path and path in self._reported and not more:
            return  # the first problem of a key explains the others
        self._reported.add(path)
        if line is None:
            line = self._line_of(path)
        self._found.append(Problem(self._file, line, key_text(path), text, transient))

    def _line_of(self, path: KeyPath) -> int:
        """Return the line of a key; of what holds it, when it is missing."""
        known = (path[:n] for n in range(len(path), -1, -1) if path[:n] in self.lines)
        return self.lines.get(next(known, ()), 0)

    def found(self) -> tuple[Problem, ...]:
        """Return all of them, in the order of their lines."""
        return tuple(sorted(self._found, key=lambda problem: problem.line))


def key_text(path: KeyPath) -> str:
    """Write a key path as people do.

    >>> key_text(("mounts", 2, "permissions", "uid"))
    'mounts[2].permissions.uid'
    """
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)[1:]
