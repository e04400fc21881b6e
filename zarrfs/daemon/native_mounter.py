"""Mounting on behalf of a supervisor, which never answers a request itself."""

from __future__ import annotations

from zarrfs.daemon.channel import Opened
from zarrfs.daemon.mounting import MountSpec, native_options, resolve
from zarrfs.daemon.supervised import Spec


class NativeMounter:
    """Mounts by the kernel's protocol: `supervisor.Mounter`."""

    def mount(self, spec: Spec, opened: Opened) -> int:
        from zarrfs.frontends.native.mounting import mount

        assert isinstance(spec, MountSpec)
        checked = resolve(spec, mkdir=spec.mkdir)
        options = native_options(opened.fsname, spec.options, read_only=opened.read_only)
        return mount(checked.target, options)

    def unmount(self, target: str, *, lazy: bool) -> None:
        from zarrfs.frontends.native.mounting import unmount

        unmount(target, lazy=lazy)
