"""Whether the mounts of a configuration file can stand beside each other, and at all.

Owns what the schema cannot know: how a mount's keys agree, how mounts agree, and
what the file system says. The latter may change by itself, so it is reported as
transient: a service starts nevertheless, and tries again. Never looks into a
target that something is mounted on, which may hang. Used by one thread.
"""

from __future__ import annotations

import os
from typing import Any, Final

from zarrfs.daemon.config_problems import KeyPath, Problems
from zarrfs.daemon.mounting_checks import FUSE_CONF, check_allow_other
from zarrfs.daemon.mounting_table import mounted_at
from zarrfs.errors import DeniedError

WRITABLE_VIEWS: Final = frozenset({"v2", "v3", "consolidated"})
_LONGEST_SOCKET: Final = 107
"""Bytes of a path that fit into a sockaddr_un, unix(7)."""


def is_memory(source: object) -> bool:
    """Whether a source names a memory store rather than a path."""
    return isinstance(source, str) and (source == "memory" or source.startswith("memory:"))


class MountChecks:
    """Checks mounts one after the other; values that are malformed are passed over."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._names: dict[str, int] = {}
        self._targets: dict[str, int] = {}
        self._written: dict[str, int] = {}

    def check(self, at: int, mount: dict[str, Any]) -> None:
        """Check `mounts[at]`, with defaults and absolute paths in it."""
        path: KeyPath = ("mounts", at)
        name = mount.get("name")
        memory = mount.get("type") == "memory" or is_memory(mount.get("source"))
        source, target = _path_at(mount, "source"), _path_at(mount, "target")
        if isinstance(name, str) and (first := self._names.setdefault(name, at)) != at:
            self._problems.report((*path, "name"), f"{name!r} is also mounts[{first}]'s")
        if target:
            self._check_beside_others(at, target)
        if source and target:
            self._check_apart((*path, "target"), source, target)
        self._check_keys(path, mount, memory=memory)
        self._check_written(at, mount, memory=memory)
        if source:
            self._check_source(path, source, mount)
        if target:
            self._check_target((*path, "target"), target, mount)
        permissions = mount.get("permissions")
        if isinstance(permissions, dict) and permissions.get("allow_other") is True:
            self._check_allow_other(path)

    # -- what the file alone tells ------------------------------------------

    def _check_beside_others(self, at: int, target: str) -> None:
        path = ("mounts", at, "target")
        if target == "/":
            self._problems.report(path, "nothing can be mounted over /")
            return
        for other, first in self._targets.items():
            if target == other:
                self._problems.report(path, f"{target} is also mounts[{first}]'s")
            elif _within(target, other) or _within(other, target):
                text = f"{target} and mounts[{first}]'s {other} are nested"
                self._problems.report(path, text)
        self._targets.setdefault(target, at)

    def _check_apart(self, path: KeyPath, source: str, target: str) -> None:
        if source == target:
            self._problems.report(path, f"{target} is the source itself", more=True)
        elif _within(target, source):
            self._problems.report(path, f"{target} lies inside its source", more=True)
        elif _within(source, target):
            self._problems.report(path, f"{target} would hide its source {source}", more=True)

    def _check_keys(self, path: KeyPath, mount: dict[str, Any], *, memory: bool) -> None:
        source, writing = mount.get("source"), mount.get("mode") == "rw"
        if mount.get("view") and mount.get("views"):
            self._problems.report((*path, "views"), "give either `view` or `views`")
        for key in ("snapshot", "size"):
            if mount.get(key) is not None and not memory:
                self._problems.report((*path, key), "only a memory mount has one")
        if mount.get("create") is True and not writing:
            self._problems.report((*path, "create"), "needs `mode: rw`")
        if is_memory(source) and mount.get("type") not in (None, "memory"):
            self._problems.report((*path, "type"), "the source is memory")
        if writing and (shown_by := _unwritable(mount)):
            text = f"shown through `{shown_by}` a store can only be read: leave out `mode: rw`"
            self._problems.report((*path, shown_by), text)

    def _check_written(self, at: int, mount: dict[str, Any], *, memory: bool) -> None:
        """Two mounts that write the same file would wait for each other's lock."""
        key = "snapshot" if memory else "source"
        file = _path_at(mount, key)
        if mount.get("mode") == "ro" or not file or os.path.isdir(file):
            return
        if not memory and mount.get("mode") != "rw":
            return
        first = self._written.setdefault(file, at)
        if first != at:
            text = f"mounts[{first}] writes {file} too"
            self._problems.report(("mounts", at, key), text)
        elif memory and _within(file, str(mount.get("target"))):
            text = f"{file} lies inside the mount's own target"
            self._problems.report(("mounts", at, key), text)

    # -- what the file system says at present -------------------------------

    def _check_source(self, path: KeyPath, source: str, mount: dict[str, Any]) -> None:
        kind = mount.get("type")
        if not os.path.lexists(source):
            if mount.get("create") is not True:
                self._later((*path, "source"), f"{source} does not exist")
        elif not os.access(source, os.R_OK):
            self._later((*path, "source"), f"{source} may not be read by this user")
        elif kind in ("zip", "directory", "filesystem") and (
            os.path.isdir(source) == (kind == "zip")
        ):
            is_one = "a folder" if kind == "zip" else "not a folder"
            self._later((*path, "type"), f"{source} is {is_one}")

    def _check_target(self, path: KeyPath, target: str, mount: dict[str, Any]) -> None:
        if mounted_at(target) is not None:
            return
        try:
            names = os.listdir(target)
        except FileNotFoundError:
            if mount.get("mkdir") is not True:
                self._later(path, f"{target} does not exist (`mkdir: true` makes it)")
        except NotADirectoryError:
            self._later(path, f"{target} is not a folder")
        except OSError as error:
            self._later(path, f"{target}: {error.strerror}")
        else:
            if names and mount.get("nonempty") is not True:
                self._later(path, f"{target} is not empty (`nonempty: true` mounts over it)")

    def _check_allow_other(self, path: KeyPath) -> None:
        key = (*path, "permissions", "allow_other")
        if key not in self._problems.lines:
            key = ("defaults", "permissions", "allow_other")
        try:
            check_allow_other()
        except DeniedError as error:
            self._later(key, f"{FUSE_CONF} does not let this user do so ({error.remedy})")

    def _later(self, path: KeyPath, text: str) -> None:
        self._problems.report(path, text, transient=True)


def check_sections(problems: Problems, data: dict[str, Any]) -> None:
    """Check what `metrics` and `control` say beyond the schema."""
    metrics = data.get("metrics")
    if isinstance(metrics, dict) and metrics.get("listen") and metrics.get("socket"):
        problems.report(("metrics", "socket"), "give either `listen` or `socket`")
    for section in ("metrics", "control"):
        keys = data.get(section)
        path = keys.get("socket") if isinstance(keys, dict) else None
        if not isinstance(path, str):
            continue
        if len(os.fsencode(path)) > _LONGEST_SOCKET:
            text = f"a socket's path has at most {_LONGEST_SOCKET} bytes"
            problems.report((section, "socket"), text)
        elif not os.path.isdir(os.path.dirname(path)):
            text = f"{os.path.dirname(path)} does not exist"
            problems.report((section, "socket"), text, transient=True)


def _path_at(mount: dict[str, Any], key: str) -> str | None:
    """Return a path that is one: absolute by now, and not memory."""
    path = mount.get(key)
    return path if isinstance(path, str) and path.startswith("/") and "\0" not in path else None


def _unwritable(mount: dict[str, Any]) -> str | None:
    """Return the key by which a mount shows what can only be read."""
    if mount.get("views"):
        return "views"
    view = mount.get("view")
    names = view.replace("+", ",").split(",") if isinstance(view, str) else view
    if isinstance(names, list) and any(name not in WRITABLE_VIEWS for name in names):
        return "view"
    return None


def _within(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip("/") + "/")
