"""What a worker needs is imported before it is forked."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PROGRAM = """\
import json, os, sys
from zarrfs.daemon.keeper import Keeper
from zarrfs.daemon.mounting import MountSpec, adopt_filesystem, open_filesystem
from zarrfs.daemon.options import parse_options
from zarrfs.daemon.warming import warm_up
from zarrfs.daemon import worker, supervisor

class Channel:
    def send(self, message, descriptors=()):
        return True

    def receive(self):
        return "stored"

source, options = sys.argv[1:]
spec = MountSpec(source, "/nowhere", options=parse_options([options]))
warm_up([spec])
threads = len(os.listdir("/proc/self/task"))
before = set(sys.modules)
opened = open_filesystem(spec, Keeper({}, Channel()))
opened.vfs.policy
import zarrfs.frontends.native
new = sorted(name for name in set(sys.modules) - before if name.startswith("zarrfs."))
opened.storage.close()
print(json.dumps([threads, new]))
"""


@pytest.mark.parametrize(
    ("source", "options"),
    [
        ("a.zip", "ro"),
        ("a.zip", "rw"),
        ("folder", "rw"),
        ("folder", "view=v3"),
        ("folder", "view=v2+decoded"),
        ("folder", "view=netcdf"),
        ("memory:", "rw"),
    ],
)
def test_a_worker_imports_nothing_of_ours(tmp_path: Path, source: str, options: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("file", "content")
    (tmp_path / "folder").mkdir()
    path = source if source == "memory:" else str(tmp_path / source)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, path, options],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout) == [1, []]


LIMITED = """\
import os, resource
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
from zarrfs.daemon.warming import warm_up
warm_up([])
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
"""


def test_workers_may_have_as_many_descriptors_as_the_hard_limit_says() -> None:
    subprocess.run([sys.executable, "-c", LIMITED], check=True, timeout=60)
