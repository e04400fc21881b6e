"""Reads a configuration file, and finds every problem in it at once.

Owns relative paths, defaults, and what the schema's complaints are called; leaves
YAML and variables to `config_yaml`, the keys to `config_schema`, and how mounts
agree to `config_checks`. Rules:

* A relative path is relative to the folder of the configuration file; a
  leading `~` is the home folder.
* A key of a mount wins over the same key in `defaults`; `permissions` is
  merged key by key.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from zarrfs.daemon.config_checks import MountChecks, check_sections, is_memory
from zarrfs.daemon.config_problems import ConfigError, KeyPath, Problem, Problems
from zarrfs.daemon.config_schema import (
    Config,
    Control,
    Defaults,
    Logging,
    Metrics,
    Mount,
    Permissions,
)
from zarrfs.daemon.config_yaml import YamlReading
from zarrfs.daemon.mounting_table import canonical_target

__all__ = ["ConfigError", "LoadedConfig", "Problem", "load_config"]

_MOST_BYTES: Final = 4 << 20
_PATH_KEYS: Final = ("source", "target", "snapshot")
_SECTIONS: Final[Mapping[str, type[BaseModel]]] = {
    "defaults": Defaults,
    "logging": Logging,
    "metrics": Metrics,
    "control": Control,
    "mounts": Mount,
    "permissions": Permissions,
}


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
    problems = Problems(file)
    reading = _Reading(file, problems, os.environ if environment is None else environment)
    config = reading.read()
    found = problems.found()
    if config is None or not all(problem.transient for problem in found):
        raise ConfigError(file, found)
    return LoadedConfig(file, config, found)


class _Reading:
    """One pass over one file."""

    def __init__(self, file: str, problems: Problems, environment: Mapping[str, str]) -> None:
        self._file = file
        self._folder = os.path.dirname(os.path.abspath(file))
        self._problems = problems
        self._environment = environment

    def read(self) -> Config | None:
        text = self._text()
        if text is None:
            return None
        data = YamlReading(self._problems, self._environment).read(text)
        if not isinstance(data, dict):
            if not self._problems.found():
                self._problems.report((), "must be a mapping with a list of `mounts`", line=1)
            return None
        self._apply_defaults(data)
        self._resolve_paths(data)
        try:
            config = Config.model_validate(data)
        except ValidationError as error:
            self._report_validation(error)
            config = None
        check_sections(self._problems, data)
        checks = MountChecks(self._problems)
        for at, mount in enumerate(_items(data.get("mounts"))):
            if isinstance(mount, dict):
                checks.check(at, mount)
        return config

    def _text(self) -> str | None:
        try:
            with open(self._file, "rb") as stream:
                content = stream.read(_MOST_BYTES + 1)
        except (OSError, ValueError) as error:
            self._problems.report((), getattr(error, "strerror", None) or str(error), line=0)
            return None
        if len(content) > _MOST_BYTES:
            self._problems.report((), f"larger than {_MOST_BYTES >> 20} MiB", line=0)
            return None
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            text = f"not UTF-8 text: byte 0x{content[error.start]:02x}"
            self._problems.report((), text, line=line)
            return None

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
                    path = self._absolute(value)
                    # As the kernel's table of mounts will show it.
                    is_target = key == "target" and path.startswith("/")
                    mount[key] = canonical_target(path) if is_target else path
        for section in ("metrics", "control"):
            sockets = data.get(section)
            if isinstance(sockets, dict) and isinstance(sockets.get("socket"), str):
                sockets["socket"] = self._absolute(sockets["socket"])

    def _absolute(self, path: str) -> str:
        expanded = os.path.expanduser(path)
        if "\0" in path or expanded.startswith("~"):
            return path.lstrip("/")  # the schema says what is wrong with it
        return os.path.normpath(os.path.join(self._folder, expanded))

    def _report_validation(self, error: ValidationError) -> None:
        for details in error.errors(include_url=False):
            path = tuple(part for part in details["loc"] if not _is_branch(part))
            self._problems.report(self._origin(path), _explain(details, path))

    def _origin(self, path: KeyPath) -> KeyPath:
        """A bad value that a mount took from `defaults` is reported there, once."""
        if path[:1] == ("mounts",) and path not in self._problems.lines:
            inherited = ("defaults", *path[2:])
            if inherited in self._problems.lines:
                return inherited
        return path


def _explain(details: Mapping[str, Any], path: KeyPath) -> str:
    """Say what is wrong with a value in the words of who writes the file."""
    kind, context = details["type"], details.get("ctx", {})
    if kind == "extra_forbidden":
        return "unknown key" + _did_you_mean(path)
    if kind == "value_error":
        return str(context["error"])
    if kind == "missing":
        return "missing"
    if kind in _MUST:
        return _explain_type(kind, details["input"])
    if kind == "literal_error":
        return f"must be {context['expected']}"
    if kind == "string_pattern_mismatch":
        return _PATTERNS[str(path[-1])]
    if kind in ("too_short", "string_too_short"):
        return "must not be empty"
    return re.sub("^(Input|String|List) should", "must", str(details["msg"]))


def _explain_type(kind: str, value: object) -> str:
    if value is None and kind not in ("string_type", "int_type", "float_type", "bool_type"):
        return "is empty: write its keys below it, or leave it out"
    if kind == "string_type" and isinstance(value, bool | int | float):
        return "must be text: put it in quotes"
    return f"must be {_MUST[kind]}"


_MUST: Final = {
    **dict.fromkeys(("model_type", "dict_type", "model_attributes_type"), "a mapping"),
    "list_type": "a list",
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
}
_PATTERNS: Final = {
    "name": "must be of letters, digits and . _ -, and begin with a letter or digit",
    "listen": "must be 127.0.0.1, localhost or [::1] with a port, such as 127.0.0.1:9464",
}


def _did_you_mean(path: KeyPath) -> str:
    """Name the key that was meant, if one of that section is spelled much like it."""
    named = [part for part in path[:-1] if isinstance(part, str)]
    section = _SECTIONS.get(named[-1], Config) if named else Config
    known = [field.alias or name for name, field in section.model_fields.items()]
    close = difflib.get_close_matches(str(path[-1]), known, n=1, cutoff=0.7)
    return f"; did you mean {close[0]}?" if close else ""


def _items(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _mappings(value: object) -> Iterator[dict[str, Any]]:
    return (item for item in _items(value) if isinstance(item, dict))


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_branch(part: str | int) -> bool:
    """Pydantic names the tried type of a union in the location; people do not."""
    return isinstance(part, str) and (
        part.startswith("list[") or part == "[key]" or "function-" in part
    )
