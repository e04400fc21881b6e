"""The clients that the tests run, and where each is found.

A client is a program of `tests/clients/programs` and the interpreter to run it with. It is
always another process, with a time limit: it reads or writes a mount that may hang.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(__file__).parent / "programs"
ENVIRONMENTS = ROOT / ".clients"
LIMIT_S = 200.0
Digests = dict[str, str]


@dataclass(frozen=True, slots=True)
class Client:
    name: str
    program: str
    interpreter: str
    probe: tuple[str, ...]
    """Arguments to the interpreter (or a command of its own) that succeed when it is here."""

    def command(self, *arguments: str | Path) -> list[str]:
        return [self.interpreter, str(PROGRAMS / self.program), *map(str, arguments)]

    def run(self, *arguments: str | Path) -> str:
        done = subprocess.run(
            self.command(*arguments),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            env=os.environ | {"ZARRITA": str(ENVIRONMENTS / "node")},
            check=False,
        )
        if done.returncode != 0:
            raise AssertionError(f"{self.name} {arguments}: {done.stdout}{done.stderr}")
        return done.stdout

    def digest(self, root: Path, arrays: list[str]) -> Digests:
        """Return what each array's values hash to, as this client reads them."""
        found: Digests = json.loads(self.run("digest", root, *arrays))
        return found


def in_environment(name: str, module: str) -> Client:
    interpreter = str(ENVIRONMENTS / name / "bin" / "python")
    return Client(name, f"{name}_client.py", interpreter, ("-c", f"import {module}"))


CLIENTS = {
    client.name: client
    for client in (
        Client("zarr3", "zarr3_client.py", sys.executable, ("-c", "import zarr")),
        Client("tensorstore", "tensorstore_client.py", sys.executable, ("-c", "pass")),
        in_environment("zarr2", "zarr"),
        in_environment("z5py", "z5py"),
        in_environment("acquire", "acquire_zarr"),
        Client("gdal", "gdal_client.py", "/usr/bin/python3", ("-c", "import osgeo.gdal, numpy")),
        Client("netcdf", "netcdf_client.py", sys.executable, ("ncdump", "ncgen", "nccopy")),
        Client("zarrita", "zarrita_client.mjs", "node", ("-v",)),
    )
}
READERS = ("zarr3", "zarr2", "tensorstore", "gdal", "netcdf", "zarrita", "z5py")
WRITERS = ("zarr3", "zarr2", "tensorstore", "gdal", "netcdf", "zarrita", "z5py", "acquire")
REREADERS = ("zarr3", "tensorstore", "zarr2")
"""Who reads back what another has written; the first that is not the writer."""


@cache
def available(name: str) -> bool:
    client = CLIENTS[name]
    if name == "netcdf":
        return all(shutil.which(command) for command in client.probe)
    if name == "zarrita" and not (ENVIRONMENTS / "node" / ".installed").exists():
        return False
    if shutil.which(client.interpreter) is None:
        return False
    probe = [client.interpreter, *client.probe]
    return subprocess.run(probe, capture_output=True, timeout=LIMIT_S, check=False).returncode == 0


def client(name: str) -> Client:
    """Return a client, or skip the test that asks for it."""
    if not available(name):
        pytest.skip(f"optional: the client {name} is not installed (make test tries to)")
    return CLIENTS[name]
