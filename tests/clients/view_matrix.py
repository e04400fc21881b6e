"""Stores x views x readers: what each reader makes of each array through each view.

`python -m tests.clients.view_matrix CORPUS` runs all of it on a corpus made by
`tests.clients.corpus` (it is made when CORPUS is empty) and writes docs/tools.md.
The tests run a part of it. Views are applied without a mount here: a reader gets
a folder that holds, file by file, what the view shows.
"""

from __future__ import annotations

import importlib.util
import logging
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import zarr

from tests.clients.catalogue import (
    CLIENTS,
    LIMIT_S,
    PROGRAMS,
    READERS,
    ROOT,
    Digests,
    available,
)
from tests.clients.corpus import Corpus, shared_corpus
from zarrfs.storage.backend import Key
from zarrfs.storage.directory import DirectoryBackend
from zarrfs.views.registry import apply_views
from zarrfs.views.view import HidesNodes

AS_STORED = "as stored"
VIEWS = (AS_STORED, "v2", "v3", "unsharded", "plain", "decoded")
NAMES = {
    "zarr3": "zarr-python",
    "zarr2": "zarr-python",
    "tensorstore": "tensorstore",
    "gdal": "GDAL",
    "netcdf": "netCDF-C",
    "zarrita": "zarrita",
    "z5py": "z5py",
}
GDAL_CRASHES_AT = re.compile("scalar")
"""GDAL 3.6 ends with a segmentation fault at a compressed array without dimensions."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a reader made of the arrays that it was given, by path."""

    same: tuple[str, ...]
    failed: tuple[str, ...]
    retyped: tuple[str, ...]
    """Read as another data type or shape, such as int8 as int16: not compared."""
    wrong: tuple[str, ...]
    """Other values in the same data type and shape, and no error."""


@dataclass(slots=True)
class Matrix:
    expected: Digests
    outcomes: dict[tuple[str, str], Outcome] = field(default_factory=dict)
    """By view and reader."""
    hidden: dict[str, dict[str, str]] = field(default_factory=dict)
    """By view: reasons by array."""


def show(stores: Path, views: Sequence[str], folder: Path) -> dict[str, str]:
    """Put what views show of every store in a folder; return what is hidden, and why."""
    hidden: dict[str, str] = {}
    for store in sorted(stores.iterdir()):
        view = apply_views(DirectoryBackend.open(str(store), read_only=True), views)
        if isinstance(view, HidesNodes):
            hidden.update({f"{store.name}/{h.path}".rstrip("/"): h.reason for h in view.hidden()})
        for key in view.list_keys(Key("")):
            path = folder / store.name / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(view.get(key))
        view.close()
    return hidden


DIGEST = re.compile(r"(\w+\[[\d, ]*\]):(\w+)")


def same_values(found: str, expected: str) -> bool:
    """Whether digests agree, as far as a view changes types.

    `decoded` shows the same bytes as other numbers, with one more dimension or not.
    """
    one, other = DIGEST.fullmatch(found), DIGEST.fullmatch(expected)
    return found == expected or bool(one and other and one[2] == other[2])


def same_type(found: str, expected: str) -> bool:
    one, other = DIGEST.fullmatch(found), DIGEST.fullmatch(expected)
    return bool(one and other and one[1] == other[1])


def as_float32(stores: Path, expected: Digests) -> Digests:
    """Return what is expected where float16 is shown as float32, as `decoded` does."""
    spec = importlib.util.spec_from_file_location("values", PROGRAMS / "values.py")
    assert spec is not None
    assert spec.loader is not None
    values = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(values)
    return {
        path: values.digest(zarr.open_array(str(stores / path), mode="r")[...].astype("f4"))
        if digest.startswith("f2[")
        else digest
        for path, digest in expected.items()
    }


def read(reader: str, folder: Path, arrays: Iterable[str], expected: Digests) -> Outcome:
    """Have a reader read arrays; leave out those that it is known to crash at."""
    asked = [a for a in arrays if reader != "gdal" or not GDAL_CRASHES_AT.search(a)]
    digests = CLIENTS[reader].digest(folder, asked)
    failed = [a for a in asked if digests[a].startswith("error")]
    # What zarr-python 3 itself cannot read has no digest to compare with.
    known = [a for a in asked if a not in failed and not expected[a].startswith("error")]
    same = [a for a in known if same_values(digests[a], expected[a])]
    others = [a for a in known if a not in same]
    wrong = [a for a in others if same_type(digests[a], expected[a])]
    retyped = [a for a in others if a not in wrong]
    return Outcome(tuple(same), tuple(failed), tuple(retyped), tuple(wrong))


def run(corpus: Corpus, folder: Path) -> Matrix:
    matrix = Matrix(corpus.expected("zarr3"))
    for view in VIEWS:
        shown = corpus.stores
        if view != AS_STORED:
            shown = folder / view
            matrix.hidden[view] = show(corpus.stores, [view], shown)
        arrays = [a for a in matrix.expected if a not in matrix.hidden.get(view, {})]
        expected = matrix.expected
        if view == "decoded":
            expected = as_float32(corpus.stores, expected)
        for reader in filter(available, READERS):
            matrix.outcomes[view, reader] = read(reader, shown, arrays, expected)
            print(view, reader, len(matrix.outcomes[view, reader].same), flush=True)
    return matrix


def versions() -> dict[str, str]:
    """Return what each reader calls itself."""
    python = "import {0}, importlib.metadata as m; print(m.version('{0}'))"
    commands = {
        "zarr3": [sys.executable, "-c", python.format("zarr")],
        "tensorstore": [sys.executable, "-c", python.format("tensorstore")],
        "zarr2": [CLIENTS["zarr2"].interpreter, "-c", python.format("zarr")],
        "z5py": [CLIENTS["z5py"].interpreter, "-c", python.format("z5py")],
        "gdal": ["gdalinfo", "--version"],
        "netcdf": ["ncdump"],
        "zarrita": ["node", "-p", "require(process.argv[1]).version",
                    str(ROOT / ".clients/node/node_modules/zarrita/package.json")],
    }  # fmt: skip
    found = {}
    for name, command in commands.items():
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=LIMIT_S, check=False
            )
        except OSError:
            continue
        number = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
        if number is not None:
            found[name] = number[0]
    return found


def document(matrix: Matrix) -> str:
    readable = [a for a, digest in matrix.expected.items() if not digest.startswith("error")]
    numbers = versions()
    lines = [
        "# What reads what, and through which view",
        "",
        "Generated by `python -m tests.clients.view_matrix`; do not edit.",
        "",
        f"{len(readable)} arrays by zarr-python 3 and 2.18, tensorstore, GDAL, netCDF-C, zarrita,",
        "z5py and acquire-zarr: every data type, codec, filter, order, key encoding and kind of",
        "shard that these writers know. Each number says how many of them a reader reads with",
        "exactly the values that zarr-python 3 reads in the store itself. How many it reads with",
        "other values and no error stands after an exclamation mark. Arrays that a reader gives",
        "back as another data type (GDAL: int8 as int16) are in neither number.",
        "",
        "| reader | " + " | ".join(VIEWS) + " |",
        "|---|" + "---:|" * len(VIEWS),
    ]
    for reader in (r for r in READERS if (AS_STORED, r) in matrix.outcomes):
        cells = [_cell(matrix.outcomes[view, reader]) for view in VIEWS]
        lines.append(f"| {NAMES[reader]} {numbers.get(reader, '')} | " + " | ".join(cells) + " |")
    lines += ["", "## By store", "", "Read as stored, and through the best view.", ""]
    lines += _by_store(matrix, readable, numbers)
    lines += ["", "## What a view leaves out", ""]
    for view, reasons in matrix.hidden.items():
        counts = Counter(reason.split(": ", 1)[-1] for reason in reasons.values())
        lines += [f"- `{view}`: {n} x {reason}" for reason, n in counts.most_common()]
    lines += ["", *NOTES]
    return "\n".join(lines) + "\n"


def _cell(outcome: Outcome) -> str:
    return f"{len(outcome.same)}" + (f" !{len(outcome.wrong)}" if outcome.wrong else "")


def _by_store(matrix: Matrix, readable: list[str], numbers: dict[str, str]) -> list[str]:
    readers = [r for r in READERS if (AS_STORED, r) in matrix.outcomes]
    lines = [
        "| store | arrays | "
        + " | ".join(f"{NAMES[r]} {numbers.get(r, '')}" for r in readers)
        + " |",
        "|---|---:|" + "---|" * len(readers),
    ]
    stores = sorted({_store(path) for path in readable})
    for store in stores:
        total = sum(_store(path) == store for path in readable)
        cells = [_best(matrix, reader, store) for reader in readers]
        lines.append(f"| {store} | {total} | " + " | ".join(cells) + " |")
    return lines


def _store(path: str) -> str:
    name, _, rest = path.partition("/")
    part = rest.partition("/")[0]
    writer = name.removesuffix(".zarr")
    return f"{writer} {part}" if part in ("v2", "v3", "xarray") else writer


def _best(matrix: Matrix, reader: str, store: str) -> str:
    counts = {
        view: sum(_store(path) == store for path in matrix.outcomes[view, reader].same)
        for view in VIEWS
    }
    stored = counts[AS_STORED]
    best = max(VIEWS, key=lambda view: counts[view])
    return str(stored) if counts[best] <= stored else f"{stored}, {counts[best]} with {best}"


NOTES = [
    "## Known of the readers",
    "",
    "- netCDF-C 4.9 reads compressed, big-endian and F-order chunks as garbage without an error,",
    "  and ends with a segmentation fault at a data type that it does not know (bool, float16,",
    "  complex, text, dates). `decoded` shows it numbers only; it is the view to give it.",
    "- GDAL 3.6 ends with a segmentation fault at a compressed array without dimensions; such",
    "  arrays were left out for it.",
    "- tensorstore and zarrita know no `numcodecs.*` codecs in v3 (some of zarrita's are other",
    "  names), so `v3` costs them arrays that they read as v2.",
    "- The views `flat` and `netcdf` are tried with numpy, ncdump, NCO, CDO and GDAL by",
    "  `tests/clients/test_view_files.py`.",
    "- GDAL and z5py look for a group above an array; the stores of tensorstore and zarrita have",
    "  none there, so that they read nothing of them in any view.",
]


def main() -> None:
    logging.getLogger("zarrfs.views").setLevel(logging.ERROR)
    base = Path(sys.argv[1])
    base.mkdir(parents=True, exist_ok=True)
    matrix = run(shared_corpus(base), base / "shown")
    (ROOT / "docs" / "tools.md").write_text(document(matrix))


if __name__ == "__main__":
    main()
