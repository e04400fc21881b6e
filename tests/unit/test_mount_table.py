"""The clean-up's view of the mount table agrees with the kernel's."""

from __future__ import annotations

from pathlib import Path

from tests.mount_table import fuse_mounts_below


def test_a_folder_without_mounts(tmp_path: Path) -> None:
    assert fuse_mounts_below(tmp_path) == []


def test_everything_below_the_root_is_fuse() -> None:
    for mount in fuse_mounts_below(Path("/")):
        assert mount.target.is_absolute()
        assert mount.fstype.startswith("fuse")
