"""The plain values that tell a `Vfs` how to behave; parsed elsewhere.

Frozen, so every thread may read them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Validate(StrEnum):
    """What happens to a written document or chunk that cannot be right."""

    OFF = "off"
    """Let it through."""
    WARN = "warn"
    """Let it through and say so in the log."""
    STRICT = "strict"
    """Refuse it with EINVAL and keep what was there."""


@dataclass(frozen=True, slots=True)
class VfsOptions:
    """Options of one mounted tree, named as in mount(8)."""

    read_only: bool = False
    uid: int | None = None
    """Show this owner instead of the stored one."""
    gid: int | None = None
    fmode: int | None = None
    """Show these permission bits on everything but folders."""
    dmode: int | None = None
    """Show these permission bits on folders."""
    validate: Validate = Validate.WARN
    cache_timeout_s: float | None = None
    """How long the kernel may remember; None chooses by the kind of content."""
    zarr_xattrs: bool = True
    """Show `user.zarr.*`."""

    @property
    def overrides_owner_or_mode(self) -> bool:
        """Whether stat shows anything but what is stored."""
        return any(value is not None for value in (self.uid, self.gid, self.fmode, self.dmode))
