"""The shape of the configuration file, as pydantic models.

Owns keys, types, defaults and their one-line explanations; `config_file` reads
text into these and finds the lines of what is wrong. Only the daemon's start
and `zarrfs config` import this module: pydantic is too heavy for a worker.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from zarrfs.daemon.options import NO_ID, parse_gid, parse_inner_path, parse_uid, parse_views
from zarrfs.daemon.quantities import parse_duration_s, parse_mode, parse_size


def _if_text(parse: Callable[[str], Any]) -> BeforeValidator:
    """Parse a text as the option of `zarrfs mount` does; leave other values to the type."""
    return BeforeValidator(lambda value: parse(value) if isinstance(value, str) else value)


def _existing_view(name: str) -> str:
    from zarrfs.views.registry import VIEWS

    if name not in VIEWS:
        raise ValueError(f"no such view: one of {', '.join(VIEWS)}")
    return name


def _existing_type(name: str) -> str:
    from zarrfs.storage.registry import canonical_name, names

    if canonical_name(name) not in names():
        raise ValueError(f"no such backend: one of {', '.join(names())}")
    return name


def _folder_name(name: str) -> str:
    if not name or "/" in name or "\0" in name or name in (".", ".."):
        raise ValueError("cannot be the name of a folder")
    return name


def _path(path: str) -> str:
    if "\0" in path:
        raise ValueError("a path has no NUL character")
    if path.startswith("~") and os.path.expanduser(path) == path:
        raise ValueError(f"no such user: {path.partition('/')[0]}")
    return path


def _port_exists(address: str) -> str:
    if not 1 <= int(address.rpartition(":")[2]) <= 65535:
        raise ValueError("a port is a number from 1 to 65535")
    return address


def _positive(value: float) -> float:
    if value <= 0:
        raise ValueError("must be greater than 0")
    return value


# pydantic would write a bound of numbers that may also be texts as a keyword of its own.
_SIZE: Final = {"type": ["number", "string"], "examples": [4096, "64MiB", "2GB"]}
_DURATION: Final = {"type": ["number", "string"], "examples": [30, "500ms", "5m"]}
_ABOVE_ZERO: Final = {"exclusiveMinimum": 0}
Size = Annotated[int, BeforeValidator(parse_size), WithJsonSchema({**_SIZE, "minimum": 0})]
PositiveSize = Annotated[
    int,
    BeforeValidator(parse_size),
    AfterValidator(_positive),
    WithJsonSchema({**_SIZE, **_ABOVE_ZERO}),
]
Duration = Annotated[
    float, BeforeValidator(parse_duration_s), WithJsonSchema({**_DURATION, "minimum": 0})
]
PositiveDuration = Annotated[
    float,
    BeforeValidator(parse_duration_s),
    AfterValidator(_positive),
    WithJsonSchema({**_DURATION, **_ABOVE_ZERO}),
]
Mode = Annotated[
    int,
    BeforeValidator(parse_mode),
    WithJsonSchema({"type": ["integer", "string"], "examples": ["0644"]}),
]
_ID: Final = {"type": ["integer", "string"], "minimum": 0, "examples": [1000, "www-data"]}
User = Annotated[int, _if_text(parse_uid), Field(ge=0, lt=NO_ID), WithJsonSchema(_ID)]
Group = Annotated[int, _if_text(parse_gid), Field(ge=0, lt=NO_ID), WithJsonSchema(_ID)]
Path = Annotated[str, Field(min_length=1), AfterValidator(_path)]
ViewNames = Annotated[
    list[Annotated[str, AfterValidator(_existing_view)]],
    _if_text(lambda text: list(parse_views(text))),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
LocalAddress = Annotated[
    str,
    Field(pattern=r"^(127\.0\.0\.1|localhost|\[::1\]):[0-9]{1,5}$"),
    AfterValidator(_port_exists),
]
Level = Literal["debug", "info", "warning", "error"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Permissions(_Section):
    """Who may see the mount, and what stat shows."""

    allow_other: bool = Field(False, description="Let users other than the server's in.")
    default_permissions: bool = Field(True, description="Let the kernel check permission bits.")
    uid: User | None = Field(None, description="Show every file as owned by this user.")
    gid: Group | None = Field(None, description="Show every file as owned by this group.")
    fmode: Mode | None = Field(None, description="Show every file with these permission bits.")
    dmode: Mode | None = Field(None, description="Show every folder with these permission bits.")


class _Settings(_Section):
    """What one mount may set, and `defaults` may set for all."""

    mode: Literal["ro", "rw"] | None = Field(
        None, description="Read-only or writable; archives are ro and the rest rw if left out."
    )
    frontend: Literal["native", "fusepy"] | None = Field(
        None, description="Kernel protocol or libfuse; the best one available if left out."
    )
    threads: int = Field(4, ge=1, le=64, description="Threads that serve requests.")
    cache: Size = Field(128 << 20, description="Bytes of decompressed data kept in memory.")
    validate_: Literal["off", "warn", "strict"] = Field(
        "warn", alias="validate", description="What to do with documents that do not parse."
    )
    permissions: Permissions = Field(
        default_factory=lambda: Permissions.model_validate({}),
        description="Ownership, modes and access.",
    )
    passthrough: bool = Field(True, description="Let the kernel read a folder's files itself.")
    read_ahead: Size | None = Field(None, description="The kernel's read-ahead, when root.")
    follow_symlinks: bool = Field(
        False, description="Follow links that lead out of a source folder."
    )
    commit: Duration = Field(30.0, description="Longest time until changes are in the archive.")
    compact: int | None = Field(
        None, ge=0, le=100, description="Compact on unmount when this percentage is unused."
    )
    idle_timeout: PositiveDuration | None = Field(
        None, description="Stop the worker of a mount that nobody used for so long."
    )
    hang_timeout: PositiveDuration = Field(
        30.0, description="Replace a worker that gives no sign of life for so long."
    )
    required: bool = Field(False, description="End the service when this mount fails.")
    mkdir: bool = Field(False, description="Create the target folder.")
    nonempty: bool = Field(False, description="Mount over a folder that has files in it.")
    log_level: Level | None = Field(None, description="This mount's own log level.")


class Defaults(_Settings):
    """Settings for all mounts that do not say otherwise."""


class Mount(_Settings):
    """One source shown at one target."""

    name: str = Field(
        min_length=1,
        max_length=64,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="What status, logs and metrics call it.",
    )
    source: Path = Field(description="An archive, a folder, or `memory:`.")
    target: Path = Field(description="The folder to mount on.")
    type: Annotated[str, AfterValidator(_existing_type)] | None = Field(
        None, description="zip, directory, memory or a registered backend; inferred if left out."
    )
    root: Annotated[str, AfterValidator(parse_inner_path)] | None = Field(
        None, description="Mount only this folder of the source."
    )
    view: ViewNames | None = Field(None, description="Show the store through these views.")
    views: dict[Annotated[str, AfterValidator(_folder_name)], ViewNames] | None = Field(
        None, min_length=1, description="Show several views, each in a subfolder of this name."
    )
    create: bool = Field(False, description="Make a new archive where the source is missing.")
    snapshot: Path | None = Field(None, description="Load and save a memory mount here.")
    size: PositiveSize | None = Field(None, description="The most bytes a memory mount may hold.")


class Logging(_Section):
    """Where the log goes, and how."""

    level: Level = Field("info", description="The least important message shown.")
    format: Literal["text", "json"] = Field("text", description="Lines for people or programs.")
    to: Literal["stderr", "journal"] = Field(
        "stderr", description="Plain standard error, or with the journal's priorities."
    )


class Metrics(_Section):
    """Where Prometheus may fetch metrics; off unless one of the two is given."""

    listen: LocalAddress | None = Field(
        None, description="A local address and port, such as 127.0.0.1:9464."
    )
    socket: Path | None = Field(None, description="A unix socket.")


class Control(_Section):
    """The socket that `zarrfs status` and `zarrfs unmount` talk to."""

    socket: Path | None = Field(
        None, description="Its path; in the user's runtime folder if left out."
    )


class Config(_Section):
    """A zarrfs configuration file."""

    version: Literal[1] = Field(1, description="The version of this file's format.")
    defaults: Defaults = Field(
        default_factory=lambda: Defaults.model_validate({}), description=Defaults.__doc__
    )
    logging: Logging = Field(
        default_factory=lambda: Logging.model_validate({}), description=Logging.__doc__
    )
    metrics: Metrics = Field(
        default_factory=lambda: Metrics.model_validate({}), description=Metrics.__doc__
    )
    control: Control = Field(
        default_factory=lambda: Control.model_validate({}), description=Control.__doc__
    )
    mounts: list[Mount] = Field(min_length=1, description="What to mount, and where.")


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a configuration file."""
    schema = Config.model_json_schema(by_alias=True)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "zarrfs configuration",
    }
