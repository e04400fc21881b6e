"""Lines of bash with which a test makes a mount namespace of its own what it wants.

What is changed there nobody else sees, and it ends with the last process in it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.commands import ZARRFS

NOBODY = 65534

DETACH_FOREIGN_MOUNTS = """\
set -e
mount --make-rprivate /
# A copy of somebody else's mount would keep it alive.
while read -r _ _ _ _ target _; do
    umount -c -l "$(printf %b "$target")"
done < <(grep -E -- ' - fuse[^ ]* ' /proc/self/mountinfo | grep -v ' - fusectl ')
"""

OWN_FUSE_DEVICE = """\
mount -t tmpfs -o mode=755 tmpfs /mnt
mknod -m 666 /mnt/fuse c 10 229
mount --bind /mnt/fuse /dev/fuse
umount -l /mnt
"""
"""`/dev/fuse` as udev makes it, for everybody."""


def open_program_to_others(scratch: Path) -> str:
    """Let users other than root reach the interpreter, wherever it lies."""
    program = (ZARRFS, Path(sys.executable).resolve())
    closed = {
        str(folder) for path in program for folder in path.parents if not folder.stat().st_mode & 1
    }
    return f"""\
for folder in {" ".join(sorted(closed))}; do
    work=$(mktemp -d {scratch}/overlay.XXXX)
    mkdir "$work/upper" "$work/work"
    mount -t overlay overlay -o "lowerdir=$folder,upperdir=$work/upper,workdir=$work/work" "$folder"
    chmod a+x "$folder"
done
"""
