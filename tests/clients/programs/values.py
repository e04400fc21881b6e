"""The values that makers write and the digests that readers report.

Imported by client programs of several environments, so it needs numpy alone (1.26 or
newer) and nothing of ours. Digests do not depend on byte order or memory layout.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np


def sample(dtype: Any, shape: tuple[int, ...] = (6, 5)) -> Any:
    """Return an array of a dtype whose elements all differ as far as the dtype allows."""
    dtype = np.dtype(dtype)
    count = int(np.prod(shape, dtype=int))
    numbers = np.arange(1, count + 1)
    if dtype.kind == "b":
        flat = (numbers * 7 // 3) % 2 == 1
    elif dtype.kind in "iu":
        flat = (numbers * 37) % 120
    elif dtype.kind == "f":
        flat = numbers / 8 - 1
        flat[:: max(count // 2, 2)] = np.nan
    elif dtype.kind == "c":
        flat = numbers / 4 - 1j * numbers
    elif dtype.kind in "Mm":
        flat = (numbers * 86400).astype("i8").view(f"{dtype.kind}8[s]")
    elif dtype.kind == "U":
        flat = np.array([f"é{n}" for n in numbers])
    elif dtype.kind == "S":
        flat = np.array([b"s%d" % n for n in numbers])
    elif dtype.kind == "V" and dtype.names:
        flat = np.zeros(count, dtype)
        for name in dtype.names:
            flat[name] = sample(dtype[name], (count,))
    elif dtype.kind == "V":
        size = dtype.itemsize
        flat = np.frombuffer(b"".join(n.to_bytes(size, "big") for n in numbers.tolist()), dtype)
    else:
        raise ValueError(f"no sample for {dtype}")
    return flat.astype(dtype).reshape(shape)


def digest(array: Any) -> str:
    """Return a short name of shape and values: equal exactly when those are."""
    array = np.asarray(array)
    if array.dtype.kind in "OT":
        content = json.dumps([plain(value) for value in array.ravel().tolist()]).encode()
        kind = "strings"
    elif array.dtype.kind == "U":
        content = json.dumps(array.ravel().tolist()).encode()
        kind = "strings"
    else:
        content = array.astype(array.dtype.newbyteorder("<")).tobytes("C")
        kind = f"{array.dtype.kind}{array.dtype.itemsize}"
    return f"{kind}{list(array.shape)}:{hashlib.sha256(content).hexdigest()[:16]}"


def plain(value: Any) -> Any:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def report(paths: Iterable[str], read: Callable[[str], Any]) -> None:
    """Print a JSON object: each path's digest, or why it could not be read."""
    found = {}
    for path in paths:
        try:
            found[path] = digest(read(path))
        except Exception as error:
            found[path] = f"error: {type(error).__name__}"
    json.dump(found, sys.stdout)
