"""Measures and prints: `python -m benchmarks [--only PART]... [--rounds N] [--scale X]`."""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import tempfile
from pathlib import Path

from rich.console import Console

from benchmarks.figures import Aim, Figures, machine
from benchmarks.peers import is_mounted

PARTS = ("reading", "arrays", "starting", "writing", "views")
RESULTS = Path(__file__).parent / "results"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", choices=PARTS, help="measure this part only")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds (3)")
    parser.add_argument(
        "--scale",
        type=float,
        default=1.0,
        help="1: arrays and files of 256 MiB, a million entries; 4: of 1 GiB; 0.1: quick",
    )
    parser.add_argument("--folder", type=Path, help="where to put the material (a new folder)")
    parser.add_argument("--save", action="store_true", help="keep the result in benchmarks/results")
    return parser.parse_args()


def main() -> None:
    asked = arguments()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed zarrfs has its bytecode
    console = Console(width=100)
    console.print(", ".join(f"{key} {value}" for key, value in machine().items()))
    base = Path(tempfile.mkdtemp(prefix="zarrfs-bench.", dir=asked.folder))
    figures, aims = Figures(), list[Aim]()
    try:
        for name in asked.only or PARTS:
            try:
                part = importlib.import_module(f"benchmarks.{name}")
            except ModuleNotFoundError as missing:
                console.print(f"no part {name}: {missing}")
                continue
            console.print(f"measuring: {name} ...")
            aims += part.AIMS
            part.measure(figures, base, asked.rounds, asked.scale)
    finally:
        if is_mounted(base / "mnt") is None:
            shutil.rmtree(base, ignore_errors=True)
        figures.show(aims, console)
    if asked.save:
        console.print(f"saved: {figures.save(RESULTS)}")


if __name__ == "__main__":
    main()
