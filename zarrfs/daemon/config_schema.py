"""The shape of the configuration file, as pydantic models.

Owns keys, types, defaults and their one-line explanations; `config_file` reads
text into these and finds the lines of what is wrong. Only the daemon's start
and `zarrfs config` import this module: pydantic is too heavy for a worker.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from zarrfs.daemon.quantities import parse_duration_s, parse_mode, parse_size

Size = Annotated[
    int,
    BeforeValidator(parse_size),
    WithJsonSchema({"type": ["integer", "string"], "examples": [4096, "64MiB", "2GB"]}),
]
Duration = Annotated[
    float,
    BeforeValidator(parse_duration_s),
    WithJsonSchema({"type": ["number", "string"], "examples": [30, "500ms", "5m"]}),
]
Mode = Annotated[
    int,
    BeforeValidator(parse_mode),
    WithJsonSchema({"type": ["integer", "string"], "examples": ["0644"]}),
]
Level = Literal["debug", "info", "warning", "error"]
ViewNames = Annotated[
    list[str],
    BeforeValidator(lambda value: value.split(",") if isinstance(value, str) else value),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Permissions(_Section):
    """Who may see the mount, and what stat shows."""

    allow_other: bool = Field(False, description="Let users other than the server's in.")
    default_permissions: bool = Field(True, description="Let the kernel check permission bits.")
    uid: int | None = Field(None, ge=0, description="Show every file as owned by this user.")
    gid: int | None = Field(None, ge=0, description="Show every file as owned by this group.")
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
    idle_timeout: Duration | None = Field(
        None, description="Stop the worker of a mount that nobody used for so long."
    )
    hang_timeout: Duration = Field(
        30.0, gt=0, description="Replace a worker that gives no sign of life for so long."
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
    source: str = Field(min_length=1, description="An archive, a folder, or `memory:`.")
    target: str = Field(min_length=1, description="The folder to mount on.")
    type: str | None = Field(
        None, description="zip, directory, memory or a registered backend; inferred if left out."
    )
    root: str | None = Field(None, description="Mount only this folder of the source.")
    view: ViewNames | None = Field(None, description="Show the store through these views.")
    views: dict[str, ViewNames] | None = Field(
        None, description="Show several views, each in a subfolder of this name."
    )
    create: bool = Field(False, description="Make a new archive where the source is missing.")
    snapshot: str | None = Field(None, description="Load and save a memory mount here.")
    size: Size | None = Field(None, description="The most bytes a memory mount may hold.")


class Logging(_Section):
    """Where the log goes, and how."""

    level: Level = Field("info", description="The least important message shown.")
    format: Literal["text", "json"] = Field("text", description="Lines for people or programs.")
    to: Literal["stderr", "journal"] = Field(
        "stderr", description="Plain standard error, or with the journal's priorities."
    )


class Metrics(_Section):
    """Where Prometheus may fetch metrics; off unless one of the two is given."""

    listen: str | None = Field(
        None,
        pattern=r"^(127\.0\.0\.1|localhost|\[::1\]):[0-9]{1,5}$",
        description="A local address and port, such as 127.0.0.1:9464.",
    )
    socket: str | None = Field(None, description="A unix socket.")


class Control(_Section):
    """The socket that `zarrfs status` and `zarrfs unmount` talk to."""

    socket: str | None = Field(
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
