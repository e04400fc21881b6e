"""The options of `zarrfs mount -o`, of fstab and of the config file's `options`.

Owns their names, their values' syntax and their defaults; what they do is
decided further in, where each arrives as a plain value. Syntax: mount(8), "-o,
--options": a list separated by commas, where a value may be quoted. Thread-safe:
nothing here has state.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, NamedTuple

from zarrfs.daemon.quantities import parse_duration_s, parse_mode, parse_size
from zarrfs.errors import InvalidArgumentError

NO_ID: Final = 2**32 - 1
"""The kernel's "no user" and "no group": ids are smaller."""


@dataclass(frozen=True, slots=True)
class MountOptions:
    """How one mount behaves. `None` leaves the choice to the backend or kernel."""

    read_only: bool | None = None
    allow_other: bool = False
    default_permissions: bool = True
    nonempty: bool = False
    noexec: bool = False
    noatime: bool = False
    debug: bool = False
    uid: int | None = None
    gid: int | None = None
    file_mode: int | None = None
    dir_mode: int | None = None
    frontend: str | None = None
    root: str = ""
    view: tuple[str, ...] = ()
    validate: str = "warn"
    follow_symlinks: bool = False
    passthrough: bool | None = None
    threads: int | None = None
    cache_bytes: int | None = None
    read_ahead_bytes: int | None = None
    size_bytes: int | None = None
    snapshot: str | None = None
    commit_s: float | None = None
    compact_percent: float | None = None
    idle_timeout_s: float | None = None


def parse_uid(text: str) -> int:
    """Raises: ValueError."""
    if text.isdecimal() and int(text) < NO_ID:
        return int(text)
    import pwd

    try:
        return pwd.getpwnam(text).pw_uid
    except KeyError:
        raise ValueError(f"{text!r} is neither a user's number nor a user of this system") from None


def parse_gid(text: str) -> int:
    """Raises: ValueError."""
    if text.isdecimal() and int(text) < NO_ID:
        return int(text)
    import grp

    try:
        return grp.getgrnam(text).gr_gid
    except KeyError:
        raise ValueError(f"{text!r} is neither a group's number nor a group here") from None


def _threads(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 64:
        raise ValueError(f"{text!r} is not a number from 1 to 64")
    return int(text)


def _percent(text: str) -> float:
    try:
        percent = float(text.removesuffix("%"))
    except ValueError:
        percent = -1
    if not 0 <= percent <= 100:
        raise ValueError(f"{text!r} is not a percentage from 0 to 100")
    return percent


def parse_inner_path(text: str) -> str:
    """Raises: ValueError."""
    names = [name for name in text.split("/") if name not in ("", ".")]
    if ".." in names:
        raise ValueError("'..' cannot be part of a path inside the store")
    return "/".join(names)


def parse_views(text: str) -> tuple[str, ...]:
    """Raises: ValueError, for what names none; whether they exist is the registry's business."""
    names = tuple(filter(None, text.replace("+", ",").replace(":", ",").split(",")))
    if not names:
        raise ValueError("write the name of a view, or several joined by '+'")
    return names


def _path(text: str) -> str:
    if not text:
        raise ValueError("write the path of a file")
    return os.path.abspath(text)


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"{text!r} is none of {', '.join(choices)}")
        return text

    return parse


class Valued(NamedTuple):
    """An option of the form `name=value`."""

    field: str
    metavar: str
    parse: Callable[[str], Any]
    help: str


class Flag(NamedTuple):
    """An option that is its name alone."""

    field: str
    value: bool
    help: str


FLAGS = {
    "ro": Flag("read_only", True, "read-only (the default for archives)"),
    "rw": Flag("read_only", False, "read-write (the default for folders and memory)"),
    "allow_other": Flag("allow_other", True, "other users may enter the mount"),
    "default_permissions": Flag(
        "default_permissions", True, "the kernel checks modes and owners (always on)"
    ),
    "nonempty": Flag("nonempty", True, "mount over a folder that is not empty"),
    "passthrough": Flag(
        "passthrough", True, "let the kernel read folders' files itself (where it can)"
    ),
    "nopassthrough": Flag("passthrough", False, "read folders' files through zarrfs"),
    "follow_symlinks": Flag("follow_symlinks", True, "follow links that leave a folder store"),
    "noexec": Flag("noexec", True, "nothing in the mount can be run as a program"),
    "exec": Flag("noexec", False, ""),
    "noatime": Flag("noatime", True, "reading leaves access times alone"),
    "atime": Flag("noatime", False, ""),
    "debug": Flag("debug", True, "log each request"),
}

VALUED = {
    "root": Valued("root", "PATH", parse_inner_path, "show only this folder of the store"),
    "subpath": Valued("root", "PATH", parse_inner_path, "the same as root"),
    "view": Valued("view", "NAME[+NAME]", parse_views, "show the store as another tool needs it"),
    "uid": Valued("uid", "USER", parse_uid, "everything belongs to this user"),
    "gid": Valued("gid", "GROUP", parse_gid, "everything belongs to this group"),
    "fmode": Valued("file_mode", "OCTAL", parse_mode, "the mode of every file"),
    "dmode": Valued("dir_mode", "OCTAL", parse_mode, "the mode of every folder"),
    "frontend": Valued(
        "frontend",
        "native|fusepy",
        _one_of("native", "fusepy"),
        "how to speak to the kernel (native where it works)",
    ),
    "threads": Valued("threads", "N", _threads, "how many threads answer the kernel"),
    "cache": Valued("cache_bytes", "SIZE", parse_size, "memory for decompressed entries"),
    "read_ahead": Valued("read_ahead_bytes", "SIZE", parse_size, "what the kernel reads ahead"),
    "validate": Valued(
        "validate",
        "off|warn|strict",
        _one_of("off", "warn", "strict"),
        "what happens to documents and chunks that are wrong when written",
    ),
    "size": Valued("size_bytes", "SIZE", parse_size, "the most a memory store may hold"),
    "snapshot": Valued("snapshot", "FILE", _path, "load memory from an archive, save it there"),
    "commit": Valued("commit_s", "SECONDS", parse_duration_s, "commit an archive this often"),
    "compact": Valued(
        "compact_percent", "PERCENT", _percent, "compact an archive with this much waste at the end"
    ),
    "idle_timeout": Valued(
        "idle_timeout_s",
        "SECONDS",
        parse_duration_s,
        "stop serving after this long without use, until the next",
    ),
}

# mount(8), "FILESYSTEM-INDEPENDENT MOUNT OPTIONS", and what systemd.mount(5)
# and fstab(5) add: meant for mount and systemd, without meaning for us. suid
# and dev are here because nosuid and nodev are always on.
IGNORED = frozenset(
    {
        *("defaults", "async", "sync", "dirsync", "auto", "noauto", "_netdev", "nofail"),
        *("user", "users", "nouser", "owner", "group", "suid", "nosuid", "dev", "nodev"),
        *("diratime", "nodiratime", "relatime", "norelatime", "strictatime", "nostrictatime"),
        *("lazytime", "nolazytime", "iversion", "noiversion", "mand", "nomand", "silent", "loud"),
        "comment",
    }
)
_IGNORED_PREFIXES = ("x-", "X-", "comment=")


def parse_options(texts: Sequence[str]) -> MountOptions:
    """Parse what `-o` was given, once or several times; the last word counts.

    Raises: InvalidArgumentError, for the first option that is unknown or malformed.

    >>> parse_options(["ro,fmode=640", "threads=8"]).threads
    8
    """
    values: dict[str, Any] = {}
    previous = ""
    for option in (option for text in texts for option in _split(text)):
        name, equals, value = option.partition("=")
        if not equals and previous == "view" and not _known(name):
            values["view"] = (*values["view"], *parse_views(name))
            continue
        values.update(_parse_one(name, value if equals else None))
        previous = name
    return MountOptions(**values)


def _parse_one(name: str, value: str | None) -> dict[str, Any]:
    if name in IGNORED or name.startswith(_IGNORED_PREFIXES):
        return {}
    if name in FLAGS:
        if value is not None:
            raise _wrong(f"{name}={value}", f"{name} takes no value", f"write -o {name}")
        return {FLAGS[name].field: FLAGS[name].value}
    if name not in VALUED:
        raise _unknown(name)
    row = VALUED[name]
    if value is None:
        raise _wrong(name, f"{name} needs a value", f"write -o {name}={row.metavar}")
    try:
        return {row.field: row.parse(value)}
    except ValueError as problem:
        raise _wrong(f"{name}={value}", str(problem), "") from None


def _known(name: str) -> bool:
    return name in FLAGS or name in VALUED or name in IGNORED or name.startswith(_IGNORED_PREFIXES)


def _wrong(option: str, reason: str, remedy: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"-o {option}", reason, remedy=remedy)


def _unknown(name: str) -> InvalidArgumentError:
    if name == "remount":
        return _wrong(name, "a mount cannot be changed in place", "unmount it and mount it again")
    import difflib

    close = difflib.get_close_matches(name, [*FLAGS, *VALUED], n=3, cutoff=0.6)
    if close:
        return _wrong(name, "no such option", f"did you mean {' or '.join(close)}?")
    return _wrong(name, "no such option", "zarrfs mount --help lists them")


def _split(text: str) -> Iterator[str]:
    """Yield the options between commas; within double quotes a comma is kept."""
    option, quoted = "", False
    for char in text:
        if char == '"':
            quoted = not quoted
        elif char == "," and not quoted:
            yield from filter(None, [option.strip()])
            option = ""
        else:
            option += char
    if quoted:
        raise _wrong(text, "a quotation mark is not closed", "")
    yield from filter(None, [option.strip()])


def options_from_json(values: dict[str, Any]) -> MountOptions:
    """Make options again out of `dataclasses.asdict(options)` that went through JSON."""
    known = {field.name for field in fields(MountOptions)}
    chosen = {name: value for name, value in values.items() if name in known}
    chosen["view"] = tuple(chosen.get("view", ()))
    return MountOptions(**chosen)
