"""The Linux kernel's FUSE protocol, spoken over `/dev/fuse` without libfuse."""

from __future__ import annotations

from zarrfs.frontends.native.mount import NativeMount, adopt_native, mount_native
from zarrfs.frontends.native.options import NativeOptions

__all__ = ["NativeMount", "NativeOptions", "adopt_native", "mount_native"]
