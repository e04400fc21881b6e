"""What a configuration file asks for, as plain values, read in a process of its own.

The libraries that read and check the file (pydantic, YAML) would otherwise lie
in the memory of the supervisor and of every worker forked from it. So a child
reads, answers with JSON over a pipe, and ends.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from zarrfs.daemon.logs import LogSettings
from zarrfs.daemon.mounting import MountSpec
from zarrfs.daemon.options import MountOptions
from zarrfs.errors import InvalidArgumentError, UnavailableError

if TYPE_CHECKING:
    from zarrfs.daemon.config_schema import Config, Mount


@dataclass(frozen=True, slots=True)
class ServicePlan:
    """Everything the supervisor needs to know of its file."""

    mounts: tuple[MountSpec, ...] = ()
    logging: LogSettings = field(default_factory=LogSettings)
    metrics_listen: str | None = None
    metrics_socket: str | None = None
    control_socket: str | None = None
    problems: tuple[str, ...] = ()
    """What is wrong but may mend itself, such as a source that is missing now."""


class BadConfigError(InvalidArgumentError):
    """The configuration file has problems; they are listed, a line each."""

    def __str__(self) -> str:
        return self.reason


def read_plan(file: str) -> ServicePlan:
    """Read a configuration file in a child process.

    Raises: BadConfigError; UnavailableError when the child fails.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        _answer(file, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(pid, 0)
    if not said:
        reason = f"could not be read (status {os.waitstatus_to_exitcode(status)})"
        raise UnavailableError(file, reason)
    answer = json.loads(said)
    if "errors" in answer:
        raise BadConfigError(file, answer["errors"])
    return _plan_from_json(answer)


def _answer(file: str, writer: int) -> None:
    """In the child: read, answer and end."""
    try:
        from zarrfs.daemon.config_file import ConfigError, load_config

        try:
            loaded = load_config(file)
            plan = plan_of(loaded.config, tuple(map(str, loaded.problems)))
            answer = asdict(plan)
        except ConfigError as error:
            answer = {"errors": str(error)}
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(json.dumps(answer).encode())
    finally:
        os._exit(0)


def plan_of(config: Config, problems: tuple[str, ...] = ()) -> ServicePlan:
    """Turn a checked configuration into plain values."""
    levels = {mount.name: mount.log_level for mount in config.mounts if mount.log_level}
    return ServicePlan(
        mounts=tuple(map(_spec_of, config.mounts)),
        logging=LogSettings(config.logging.level, config.logging.format, config.logging.to, levels),
        metrics_listen=config.metrics.listen,
        metrics_socket=config.metrics.socket,
        control_socket=config.control.socket,
        problems=problems,
    )


def _spec_of(mount: Mount) -> MountSpec:
    permissions = mount.permissions
    options = MountOptions(
        read_only=None if mount.mode is None else mount.mode == "ro",
        allow_other=permissions.allow_other,
        default_permissions=permissions.default_permissions,
        nonempty=mount.nonempty,
        uid=permissions.uid,
        gid=permissions.gid,
        file_mode=permissions.fmode,
        dir_mode=permissions.dmode,
        frontend=mount.frontend,
        root=mount.root or "",
        view=tuple(mount.view or ()),
        validate=mount.validate_,
        follow_symlinks=mount.follow_symlinks,
        passthrough=None if mount.passthrough else False,
        threads=mount.threads,
        cache_bytes=mount.cache,
        read_ahead_bytes=mount.read_ahead,
        size_bytes=mount.size,
        snapshot=mount.snapshot,
        commit_s=mount.commit,
        compact_percent=mount.compact,
        idle_timeout_s=mount.idle_timeout,
    )
    return MountSpec(
        source=mount.source,
        target=mount.target,
        kind=mount.type,
        create=mount.create,
        options=options,
        name=mount.name,
        required=mount.required,
        mkdir=mount.mkdir,
        hang_timeout_s=mount.hang_timeout,
        views=tuple((name, tuple(views)) for name, views in (mount.views or {}).items()),
    )


def _plan_from_json(values: dict[str, Any]) -> ServicePlan:
    return ServicePlan(
        **{
            **values,
            "mounts": tuple(map(MountSpec.from_json, values["mounts"])),
            "logging": LogSettings(**values["logging"]),
            "problems": tuple(values["problems"]),
        }
    )
