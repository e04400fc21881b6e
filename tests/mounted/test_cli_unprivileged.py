"""`zarrfs mount` and `unmount` by a user who is not root."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import LIMIT_S, ZARRFS
from tests.mount_table import fuse_mounts_below, remove
from tests.mounted.test_native_unprivileged import DEVICE, LOCK, USER
from zarrfs.cli.exit_codes import ExitCode

# The user may read the interpreter and this package wherever they are, and
# nothing else that others may not.
BECOME_USER = (
    *("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"),
    *("--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"),
)

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="optional: becoming another user needs root"),
    pytest.mark.skipif(
        shutil.which("fusermount3") is None or shutil.which("setpriv") is None,
        reason="optional: fusermount3 or setpriv is not installed",
    ),
]


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder of the user's, while the device may be opened by everybody.

    Not below pytest's own, which fusermount3 could not enter for him.
    """
    folder = Path(tempfile.mkdtemp(prefix="zarrfs-user-"))
    os.chown(folder, USER, USER)
    with open(LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        mode = stat.S_IMODE(DEVICE.stat().st_mode)
        DEVICE.chmod(0o666)
        try:
            yield folder
        finally:
            DEVICE.chmod(mode)
            for mount in fuse_mounts_below(folder):
                remove(mount)
            shutil.rmtree(folder)


def as_user(home: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*BECOME_USER, *command],
        cwd=home,
        env={**os.environ, "HOME": str(home), "XDG_RUNTIME_DIR": str(home)},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )


@pytest.mark.parametrize("frontend", ["native", "fusepy"])
def test_a_user_mounts_an_archive(home: Path, frontend: str) -> None:
    with zipfile.ZipFile(home / "store.zip", "w") as file:
        file.writestr("zarr.json", '{"zarr_format": 3, "node_type": "group"}')
    mount = (str(ZARRFS), "mount", "store.zip", "mnt", "--mkdir", "-o", f"frontend={frontend}")
    done = as_user(home, *mount)
    assert done.returncode == ExitCode.OK, done.stderr
    read = as_user(home, "sh", "-c", "cat mnt/zarr.json && stat -c %u mnt/zarr.json")
    assert read.stdout.endswith(f'"group"}}{USER}\n'), read.stderr
    assert (home / "zarrfs").is_dir()
    done = as_user(home, str(ZARRFS), "unmount", "mnt")
    assert done.returncode == ExitCode.OK, done.stderr
    assert fuse_mounts_below(home) == []
    assert list((home / "zarrfs").glob("mount-*")) == []


def test_a_target_that_is_not_the_users(home: Path) -> None:
    (home / "theirs").mkdir()
    for frontend in ("native", "fusepy"):
        mount = ("mount", "memory:", "theirs", "-o", f"frontend={frontend}")
        done = as_user(home, str(ZARRFS), *mount)
        assert done.returncode == ExitCode.SYSTEM
        (line,) = done.stderr.splitlines()
        assert "write access" in line
        assert str(home / "theirs") in line
