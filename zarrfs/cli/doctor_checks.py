"""What a machine needs for mounts, looked up; and a trial mount, to be sure.

Each check returns a `Finding`; `mount.py`'s own errors point here. Sources: fuse(4),
fusermount3(1), the kernel's Documentation/filesystems/fuse and its releases.
"""

from __future__ import annotations

import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from zarrfs.daemon.mounting_checks import FUSE_CONF, user_allow_other
from zarrfs.frontends.native.privileges import may_administer

FUSE_DEVICE = "/dev/fuse"
_TRIAL_LIMIT_S = 60.0


class State(StrEnum):
    """`WORKS`: nothing to do. `LIMITED`: mounts work without it. `BROKEN`: they do not."""

    WORKS = "works"
    LIMITED = "limited"
    BROKEN = "broken"


class Finding(NamedTuple):
    """One line of the doctor's report; `fix` is a command or a sentence."""

    name: str
    state: State
    found: str
    fix: str = ""


def kernel_release() -> tuple[int, int]:
    """Return the kernel's version, such as (6, 18); (0, 0) where it is not Linux."""
    if sys.platform != "linux":
        return (0, 0)
    major, _, rest = platform.release().partition(".")
    minor = "".join(c for c in rest.partition(".")[0] if c.isdecimal())
    return int(major), int(minor or 0)


def check_kernel() -> Finding:
    found = f"{platform.system()} {platform.release()}"
    if sys.platform != "linux":
        return Finding("kernel", State.LIMITED, f"{found}: only the fusepy frontend works here")
    if kernel_release() < (4, 20):
        return Finding("kernel", State.BROKEN, found, "update to Linux 5.10 or later")
    return Finding("kernel", State.WORKS, found)


def check_device() -> Finding:
    name = FUSE_DEVICE
    try:
        os.close(os.open(FUSE_DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        fix = "modprobe fuse; in a container: docker run --device /dev/fuse --cap-add SYS_ADMIN"
        return Finding(name, State.BROKEN, "is not there", fix)
    except PermissionError:
        return Finding(name, State.BROKEN, "may not be opened by you", f"chmod 0666 {FUSE_DEVICE}")
    except OSError as error:
        fix = "modprobe fuse; in a container, allow the device (--device /dev/fuse)"
        return Finding(name, State.BROKEN, f"cannot be opened: {error.strerror}", fix)
    mode = stat.S_IMODE(os.stat(FUSE_DEVICE).st_mode)
    if mode & 0o006 != 0o006:
        found = f"opens, but has mode {mode:04o}: other users cannot mount"
        return Finding(name, State.LIMITED, found, f"chmod 0666 {FUSE_DEVICE}")
    return Finding(name, State.WORKS, f"opens, mode {mode:04o}")


def check_fusermount() -> Finding:
    """A user who may not mount(2) mounts through this setuid program."""
    path = shutil.which("fusermount3")
    needless = may_administer()
    weaker = State.LIMITED if needless else State.BROKEN
    if path is None:
        found = "not installed; you need none, but other users do" if needless else "not installed"
        return Finding("fusermount3", weaker, found, "apt-get install fuse3")
    status = os.stat(path)
    if not status.st_mode & stat.S_ISUID or status.st_uid != 0:
        return Finding("fusermount3", weaker, f"{path} is not setuid root", f"chmod u+s {path}")
    return Finding("fusermount3", State.WORKS, path)


def check_allow_other() -> Finding:
    name = "-o allow_other"
    if user_allow_other():
        return Finding(name, State.WORKS, f"for everyone (user_allow_other in {FUSE_CONF})")
    fix = f"echo user_allow_other >> {FUSE_CONF}"
    if os.geteuid() == 0:
        return Finding(name, State.WORKS, "for root; not for other users", fix)
    return Finding(name, State.LIMITED, "not for you", fix)


def check_passthrough() -> Finding:
    """FUSE_PASSTHROUGH came with Linux 6.9 and needs CAP_SYS_ADMIN."""
    name = "passthrough"
    if kernel_release() < (6, 9):
        return Finding(name, State.LIMITED, "folders are read through zarrfs", "Linux 6.9 or later")
    if not may_administer():
        return Finding(name, State.LIMITED, "folders are read through zarrfs", "mount as root")
    return Finding(name, State.WORKS, "the kernel reads folders' files itself")


def check_resend() -> Finding:
    """FUSE_NOTIFY_RESEND came with Linux 6.9."""
    name = "restart under load"
    if kernel_release() < (6, 9):
        found = "requests in flight fail when a worker is killed"
        return Finding(name, State.LIMITED, found, "Linux 6.9 or later")
    return Finding(name, State.WORKS, "requests in flight survive a killed worker")


def check_libfuse() -> Finding:
    name = "-o frontend=fusepy"
    needed = sys.platform != "linux"
    weaker = State.BROKEN if needed else State.LIMITED
    from zarrfs.errors import UnsupportedError
    from zarrfs.frontends.fusepy import describe_binding

    try:
        return Finding(name, State.WORKS, describe_binding())
    except UnsupportedError as error:
        found = error.reason if needed else f"{error.reason}; only this frontend needs it"
        return Finding(name, weaker, found, error.remedy)


def check_codecs() -> Finding:
    from importlib.util import find_spec

    missing = [name for name in ("bz2", "lzma", "zlib") if find_spec(f"_{name}") is None]
    if "zlib" in missing and find_spec("zlib") is not None:
        missing.remove("zlib")
    if missing:
        found = f"this Python lacks {', '.join(missing)}: zip entries of that kind are hidden"
        return Finding("zip compression", State.LIMITED, found, "use a Python built with them")
    return Finding("zip compression", State.WORKS, "deflate, zstd, bzip2, lzma")


def check_trial_mount() -> Finding:
    """What the other checks cannot know: seccomp filters, containers, policies."""
    name = "a trial mount"
    with tempfile.TemporaryDirectory(prefix="zarrfs-doctor-") as folder:
        if problem := _run("mount", "memory:", folder):
            return Finding(name, State.BROKEN, problem, "see the lines above")
        try:
            os.listdir(folder)
        finally:
            problem = _run("unmount", folder)
    if problem:
        return Finding(name, State.BROKEN, problem, "see the lines above")
    return Finding(name, State.WORKS, "mounted, listed and unmounted a store in memory")


def _run(*arguments: str) -> str:
    """Run a command of ours; return what it complained of, on one line."""
    command = [sys.executable, "-m", "zarrfs.cli", *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TRIAL_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"{arguments[0]} does not end"
    return " ".join(done.stderr.split()) if done.returncode else ""


CHECKS: tuple[Callable[[], Finding], ...] = (
    check_kernel,
    check_device,
    check_fusermount,
    check_allow_other,
    check_passthrough,
    check_resend,
    check_libfuse,
    check_codecs,
    check_trial_mount,
)


def examine() -> list[Finding]:
    """Run every check, in the order in which a user would mend things."""
    return [check() for check in CHECKS]
