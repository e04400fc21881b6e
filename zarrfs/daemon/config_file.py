"""Reads a configuration file, and finds every problem in it at once.

Owns YAML with lines, `${VAR}`, relative paths, defaults, and the checks that
relate one mount to another; leaves the keys to `config_schema`. Rules:

* `${VAR}` and `${VAR:-default}` in a text are the environment's; `$$` is a `$`.
  A variable that is not set and has no default is a problem.
* A relative path is relative to the folder of the configuration file; a
  leading `~` is the home folder.
* A key of a mount wins over the same key in `defaults`; `permissions` is
  merged key by key.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import yaml
from pydantic import ValidationError

from zarrfs.daemon.config_schema import Config, Mount
from zarrfs.errors import InvalidArgumentError

KeyPath: TypeAlias = tuple[str | int, ...]

_VARIABLE: Final = re.compile(r"\$(?:\$|\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\})")
_TEXT_KEYS: Final = frozenset({"fmode", "dmode"})
"""Keys whose scalar stays text: YAML would read 0644 as an octal number."""
_PATH_KEYS: Final = ("source", "target", "snapshot")


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


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A file that is right, or right but for what is missing at present."""

    file: str
    config: Config
    problems: tuple[Problem, ...]
    """Only transient ones."""


def load_config(file: str, environment: Mapping[str, str] | None = None) -> LoadedConfig:
    """Read and check a configuration file.

    Raises: ConfigError, with every problem that does not mend itself.
    """
    try:
        with open(file, encoding="utf-8") as stream:
            text = stream.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(file, (Problem(file, 0, "", reason),)) from error
    reading = _Reading(file, os.environ if environment is None else environment)
    config = reading.read(text)
    problems = sorted(reading.problems, key=lambda problem: problem.line)
    if config is None or not all(problem.transient for problem in problems):
        raise ConfigError(file, tuple(problems))
    return LoadedConfig(file, config, tuple(problems))


class _Reading:
    """One pass over one file; collects problems instead of raising them."""

    def __init__(self, file: str, environment: Mapping[str, str]) -> None:
        self._file = file
        self._folder = os.path.dirname(os.path.abspath(file))
        self._environment = environment
        self._lines: dict[KeyPath, int] = {}
        self._reported: set[KeyPath] = set()
        self.problems: list[Problem] = []

    def read(self, text: str) -> Config | None:
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            reason = getattr(error, "problem", None) or str(error)
            self._report((), f"not YAML: {reason}", line=mark.line + 1 if mark else 0)
            return None
        data = self._plain(node, ()) if node is not None else None
        if not isinstance(data, dict):
            self._report((), "must be a mapping with a list of `mounts`", line=1)
            return None
        self._apply_defaults(data)
        self._resolve_paths(data)
        try:
            config = Config.model_validate(data)
        except ValidationError as error:
            self._report_validation(error)
            config = None
        self._check_mounts(data)
        return config

    def _plain(self, node: yaml.Node, path: KeyPath) -> Any:
        """Turn a YAML node into plain values, remembering the line of each key."""
        self._lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(item, (*path, at)) for at, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return self._plain_mapping(node, path)
        if path and path[-1] in _TEXT_KEYS and node.tag.endswith(":int"):
            return str(node.value)
        try:
            value = yaml.SafeLoader("").construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            self._report(path, f"not a value that YAML knows: {error}".partition("\n")[0])
            return None
        return self._expand(value, path) if isinstance(value, str) else value

    def _plain_mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            below = (*path, key)
            line = key_node.start_mark.line + 1
            if key in plain:
                first = self._lines[below]
                self._report(below, f"given twice, first in line {first}", line=line)
                continue
            self._lines[below] = line
            plain[key] = self._plain(value_node, below)
        return plain

    def _expand(self, text: str, path: KeyPath) -> str:
        def value_of(match: re.Match[str]) -> str:
            if match[1] is None:
                return "$"
            value = self._environment.get(match[1], match[2])
            if value is None:
                self._report(path, f"the environment variable {match[1]} is not set")
                return ""
            return value

        return _VARIABLE.sub(value_of, text)

    def _apply_defaults(self, data: dict[str, Any]) -> None:
        defaults = data.get("defaults")
        if not isinstance(defaults, dict):
            return
        for mount in _mappings(data.get("mounts")):
            permissions = {
                **_mapping(defaults.get("permissions")),
                **_mapping(mount.get("permissions")),
            }
            own = dict(mount)
            mount.update(defaults)
            mount.update(own)
            if permissions and isinstance(mount.get("permissions"), dict):
                mount["permissions"] = permissions

    def _resolve_paths(self, data: dict[str, Any]) -> None:
        for mount in _mappings(data.get("mounts")):
            for key in _PATH_KEYS:
                value = mount.get(key)
                in_memory = key == "source" and is_memory(value)
                if isinstance(value, str) and value and not in_memory:
                    mount[key] = self._absolute(value)
        for section in ("metrics", "control"):
            sockets = data.get(section)
            if isinstance(sockets, dict) and isinstance(sockets.get("socket"), str):
                sockets["socket"] = self._absolute(sockets["socket"])

    def _absolute(self, path: str) -> str:
        return os.path.normpath(os.path.join(self._folder, os.path.expanduser(path)))

    def _report_validation(self, error: ValidationError) -> None:
        for details in error.errors(include_url=False):
            path = tuple(part for part in details["loc"] if not _is_branch(part))
            text = _explain(details["type"], details["msg"], details.get("ctx", {}))
            self._report(self._origin(path), text)

    def _origin(self, path: KeyPath) -> KeyPath:
        """A bad value that a mount took from `defaults` is reported there, once."""
        if path[:1] == ("mounts",) and path not in self._lines:
            inherited = ("defaults", *path[2:])
            if inherited in self._lines:
                return inherited
        return path

    def _check_mounts(self, data: dict[str, Any]) -> None:
        names: dict[str, int] = {}
        targets: dict[str, int] = {}
        for at, mount in enumerate(_items(data.get("mounts"))):
            if not isinstance(mount, dict):
                continue
            name, target = mount.get("name"), mount.get("target")
            if isinstance(name, str):
                first = names.setdefault(name, at)
                if first != at:
                    self._report(("mounts", at, "name"), f"{name!r} is also mounts[{first}]'s")
            if isinstance(target, str) and target:
                self._check_target(at, target, targets)
            self._check_one(at, mount)

    def _check_target(self, at: int, target: str, targets: dict[str, int]) -> None:
        for other, first in targets.items():
            if target == other:
                self._report(("mounts", at, "target"), f"{target} is also mounts[{first}]'s")
            elif _within(target, other) or _within(other, target):
                self._report(
                    ("mounts", at, "target"), f"{target} and mounts[{first}]'s {other} are nested"
                )
        targets.setdefault(target, at)

    def _check_one(self, at: int, mount: dict[str, Any]) -> None:
        source, target = mount.get("source"), mount.get("target")
        memory = mount.get("type") == "memory" or is_memory(source)
        if mount.get("view") and mount.get("views"):
            self._report(("mounts", at, "views"), "give either `view` or `views`")
        for key in ("snapshot", "size"):
            if mount.get(key) is not None and not memory:
                self._report(("mounts", at, key), "only a memory mount has one")
        if mount.get("create") and mount.get("mode") != "rw":
            self._report(("mounts", at, "create"), "needs `mode: rw`")
        if not isinstance(source, str) or not source or memory:
            return
        if not os.path.lexists(source) and not mount.get("create"):
            self._report(("mounts", at, "source"), f"{source} does not exist", transient=True)
        if isinstance(target, str) and os.path.isdir(source) and _within(target, source):
            self._report(("mounts", at, "target"), f"{target} lies inside its source")

    def _report(
        self, path: KeyPath, text: str, *, line: int | None = None, transient: bool = False
    ) -> None:
        if path and path in self._reported:
            return  # the first problem of a key explains the others
        self._reported.add(path)
        if line is None:
            line = next(
                (
                    self._lines[path[:n]]
                    for n in range(len(path), -1, -1)
                    if path[:n] in self._lines
                ),
                0,
            )
        self.problems.append(Problem(self._file, line, key_text(path), text, transient))


def is_memory(source: object) -> bool:
    """Whether a source names a memory store rather than a path."""
    return isinstance(source, str) and (source == "memory" or source.startswith("memory:"))


def key_text(path: KeyPath) -> str:
    """Write a key path as people do.

    >>> key_text(("mounts", 2, "permissions", "uid"))
    'mounts[2].permissions.uid'
    """
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)[1:]


def mounts_by_name(config: Config) -> dict[str, Mount]:
    return {mount.name: mount for mount in config.mounts}


def _within(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip("/") + "/")


def _items(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _mappings(value: object) -> Iterator[dict[str, Any]]:
    return (item for item in _items(value) if isinstance(item, dict))


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_branch(part: str | int) -> bool:
    """Pydantic names the tried type of a union in the location; people do not."""
    return isinstance(part, str) and (part.startswith("list[") or "function-" in part)


def _explain(kind: str, message: str, context: Mapping[str, Any]) -> str:
    if kind == "extra_forbidden":
        return "unknown key"
    if kind == "missing":
        return "missing"
    if kind == "value_error":
        return str(context.get("error", message))
    return message[:1].lower() + message[1:]
