"""The options of `zarrfs mount -o`, of fstab and of the config file's `options`.

Owns their names, their values' syntax and their defaults; what they do is
decided further in, where each arrives as a plain value. Syntax: mount(8), "-o,
--options": a list separated by commas, where a value may be quoted. Thread-safe:
nothing here has state.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from zarrfs.errors import InvalidArgumentError

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
_SIZE_UNITS = {"": 1, "B": 1, "K": KIB, "M": MIB, "G": GIB, "T": TIB}
_SECONDS = {"": 1.0, "S": 1.0, "MS": 0.001, "MIN": 60.0, "M": 60.0, "H": 3600.0, "D": 86400.0}


@dataclass(frozen=True, slots=True)
class MountOptions:
    """How one mount behaves. `None` leaves the choice to the backend or kernel."""

    read_only: bool | None = None
    allow_other: bool = False
    default_permissions: bool = False
    nonempty: bool = False
    noexec: bool = False
    noatime: bool = False
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


def parse_size(text: str) -> int:
    """Return a size in bytes: `4096`, `64K`, `1.5GiB`, `2 MB` (powers of 1024).

    Raises: ValueError, whose message says what is accepted.

    >>> parse_size("64K"), parse_size("1.5GiB")
    (65536, 1610612736)
    """
    number, unit = _split_number(text)
    letter = unit.upper().removesuffix("IB") if len(unit) == 3 else unit.upper()
    if len(letter) == 2:
        letter = letter.removesuffix("B")
    if number is None or letter not in _SIZE_UNITS:
        raise ValueError("a size such as 4096, 64K, 256M or 1.5G")
    return int(number * _SIZE_UNITS[letter])


def parse_seconds(text: str) -> float:
    """Return a duration in seconds: `30`, `2.5s`, `500ms`, `5min`, `1h`, `1d`.

    Raises: ValueError, whose message says what is accepted.

    >>> parse_seconds("5min"), parse_seconds("500ms")
    (300.0, 0.5)
    """
    number, unit = _split_number(text)
    if number is None or unit.upper() not in _SECONDS:
        raise ValueError("a duration such as 30, 500ms, 5min or 1h")
    return number * _SECONDS[unit.upper()]


def _split_number(text: str) -> tuple[float | None, str]:
    """Split `"1.5 GiB"` into 1.5 and `"GiB"`; None where no number leads."""
    text = text.strip()
    end = next((i for i, c in enumerate(text) if c not in "0123456789."), len(text))
    try:
        return float(text[:end]), text[end:].strip()
    except ValueError:
        return None, text


def _mode(text: str) -> int:
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o7777:
        raise ValueError("an octal mode such as 644")
    return mode


def _uid(text: str) -> int:
    if text.isdecimal():
        return int(text)
    import pwd

    try:
        return pwd.getpwnam(text).pw_uid
    except KeyError:
        raise ValueError("a user's number, or the name of a user of this system") from None


def _gid(text: str) -> int:
    if text.isdecimal():
        return int(text)
    import grp

    try:
        return grp.getgrnam(text).gr_gid
    except KeyError:
        raise ValueError("a group's number, or the name of a group of this system") from None


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 256:
        raise ValueError("a number from 1 to 256")
    return int(text)


def _percent(text: str) -> float:
    number, unit = _split_number(text)
    if number is None or unit not in ("", "%") or not 0 <= number <= 100:
        raise ValueError("a percentage from 0 to 100")
    return number


def _inner_path(text: str) -> str:
    names = [name for name in text.split("/") if name not in ("", ".")]
    if ".." in names:
        raise ValueError("a path inside the store, without '..'")
    return "/".join(names)


def _views(text: str) -> tuple[str, ...]:
    names = tuple(filter(None, text.replace("+", ",").replace(":", ",").split(",")))
    if not names:
        raise ValueError("the name of a view, or several joined by '+'")
    return names


def _path(text: str) -> str:
    if not text:
        raise ValueError("the path of a file")
    return text


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
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
    "default_permissions": Flag("default_permissions", True, "the kernel checks modes and owners"),
    "nonempty": Flag("nonempty", True, "mount over a folder that is not empty"),
    "passthrough": Flag("passthrough", True, "insist that the kernel reads files itself"),
    "nopassthrough": Flag("passthrough", False, "never let the kernel read files itself"),
    "follow_symlinks": Flag("follow_symlinks", True, "follow links that leave a folder store"),
    "noexec": Flag("noexec", True, "nothing in the mount can be run as a program"),
    "exec": Flag("noexec", False, ""),
    "noatime": Flag("noatime", True, "reading leaves access times alone"),
    "atime": Flag("noatime", False, ""),
}

VALUED = {
    "root": Valued("root", "PATH", _inner_path, "show only this folder of the store"),
    "subpath": Valued("root", "PATH", _inner_path, "the same as root"),
    "view": Valued("view", "NAME[+NAME]", _views, "show the store as another tool needs it"),
    "uid": Valued("uid", "USER", _uid, "everything belongs to this user"),
    "gid": Valued("gid", "GROUP", _gid, "everything belongs to this group"),
    "fmode": Valued("file_mode", "OCTAL", _mode, "the mode of every file"),
    "dmode": Valued("dir_mode", "OCTAL", _mode, "the mode of every folder"),
    "frontend": Valued(
        "frontend",
        "native|fusepy",
        _one_of("native", "fusepy"),
        "how to speak to the kernel (native where it works)",
    ),
    "threads": Valued("threads", "N", _count, "how many threads answer the kernel"),
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
    "commit": Valued("commit_s", "SECONDS", parse_seconds, "commit an archive this often"),
    "compact": Valued(
        "compact_percent", "PERCENT", _percent, "compact an archive with this much waste at the end"
    ),
    "idle_timeout": Valued(
        "idle_timeout_s", "SECONDS", parse_seconds, "unmount after this long without use"
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
            values["view"] = (*values["view"], *_views(name))
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
        raise _wrong(f"{name}={value}", f"{name} needs {problem}", "") from None


def _known(name: str) -> bool:
    return name in FLAGS or name in VALUED or name in IGNORED or name.startswith(_IGNORED_PREFIXES)


def _wrong(option: str, reason: str, remedy: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"-o {option}", reason, remedy=remedy)


def _unknown(name: str) -> InvalidArgumentError:
    if name == "remount":
        return _wrong(name, "a mount cannot be changed in place", "unmount it and mount it again")
    close = difflib.get_close_matches(name, [*FLAGS, *VALUED], n=3, cutoff=0.5)
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
