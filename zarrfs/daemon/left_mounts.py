"""Mounts that an earlier supervisor left behind, alive, in a descriptor store."""

from __future__ import annotations

import contextlib

from zarrfs.daemon.kept import Kept
from zarrfs.daemon.mounting import MountSpec
from zarrfs.daemon.native_mounter import NativeMounter
from zarrfs.errors import ZarrfsError


def spec_of(kept: Kept) -> MountSpec | None:
    """Return what an earlier supervisor mounted there."""
    try:
        return MountSpec.from_json(kept.read_record()["spec"])
    except (KeyError, TypeError):
        return None


def take_from(left: dict[str, Kept], spec: MountSpec) -> Kept | None:
    """Take what was left of a mount, if it can go on as it is; otherwise unmount it."""
    kept = left.pop(spec.name, None)
    before = None if kept is None else spec_of(kept)
    if kept is None or (before is not None and before.is_served_like(spec)):
        return kept
    take_down(kept)
    return None


def take_down(kept: Kept) -> None:
    """Unmount what nobody wants any more."""
    spec = spec_of(kept)
    if spec is not None and kept.fuse is not None and not kept.is_gone:
        with contextlib.suppress(ZarrfsError, OSError):
            NativeMounter().unmount(spec.target, lazy=True)
    kept.clear()
