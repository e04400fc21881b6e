"""netCDF-C's NCZarr through its own commands: make, change and read v2 stores.

usage: netcdf_client.py make|change ROOT
       netcdf_client.py digest ROOT STORE/VARIABLE...

ncgen writes, nccopy copies between stores, ncdump reads; nothing but the standard
library and numpy is used here.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np
import values

SHAPE = (4, 6)
TYPES = {
    "byte": "i1",
    "short": "i2",
    "int": "i4",
    "float": "f4",
    "double": "f8",
    "int64": "i8",
    "ubyte": "u1",
    "ushort": "u2",
    "uint": "u4",
    "uint64": "u8",
}


def url(path: str) -> str:
    return f"file://{os.path.abspath(path)}#mode=zarr,file"


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def write(path: str, offset: int = 0) -> None:
    """Write a store with a variable of every numeric type, replacing what is there."""
    numbers = ", ".join(str(n + offset) for n in range(1, 25))
    variables = "".join(
        f'  {kind} v_{kind}(y, x) ; v_{kind}:_ChunkSizes = 2, 3 ; v_{kind}:units = "K" ;\n'
        for kind in TYPES
    )
    data = "".join(f"  v_{kind} = {numbers} ;\n" for kind in TYPES)
    with tempfile.NamedTemporaryFile("w", suffix=".cdl") as cdl:
        cdl.write(
            f"netcdf n {{\ndimensions: y = 4 ; x = 6 ;\nvariables:\n{variables}data:\n{data}}}\n"
        )
        cdl.flush()
        run("ncgen", "-4", "-b", "-o", url(path), cdl.name)


def make(root: str) -> None:
    os.makedirs(root, exist_ok=True)
    write(f"{root}/every-type")
    run("nccopy", url(f"{root}/every-type"), url(f"{root}/copied"))


def change(root: str) -> None:
    os.makedirs(root, exist_ok=True)
    write(f"{root}/changed")
    write(f"{root}/changed", offset=50)


def read(root: str, path: str) -> Any:
    """Return a variable's values from what ncdump prints."""
    folder, _, name = path.rpartition("/")
    text = run("ncdump", "-p", "9,17", "-v", name, url(f"{root}/{folder}" if folder else root))
    escaped = re.escape(name)
    declared = re.search(rf"^\t(\w+) {escaped}\(([^)]*)\) ;$", text, re.MULTILINE)
    shown = re.search(rf"^ {escaped} =([^;]*);", text, re.MULTILINE)
    if declared is None or shown is None:
        raise LookupError(name)
    sizes = dict(re.findall(r"^\t(\S+) = (\d+) ;", text, re.MULTILINE))
    shape = tuple(int(sizes[axis.strip()]) for axis in declared[2].split(","))
    words = [word.strip().replace("NaNf", "NaN") for word in shown[1].split(",")]
    return np.array(words).astype(TYPES[declared[1]]).reshape(shape)


def main() -> None:
    command, root, *paths = sys.argv[1:]
    if command == "digest":
        values.report(paths, lambda path: read(root, path))
    else:
        {"make": make, "change": change}[command](root)


if __name__ == "__main__":
    main()
