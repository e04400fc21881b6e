"""Programs that know no Zarr, on the files of the views `flat` and `netcdf`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray

from tests.clients.catalogue import LIMIT_S, PROGRAMS
from tests.clients.corpus import Corpus
from tests.commands import mounted

pytestmark = pytest.mark.xdist_group("view-files")


def tool(*command: str | Path) -> str:
    """Run a program with a time limit, or skip the test where it is not installed."""
    if shutil.which(str(command[0])) is None:
        pytest.skip(f"optional: {command[0]} is not installed")
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stdout[-500:]}{done.stderr[-2000:]}"
    return done.stdout


LOAD_ALL = """
import json, os, sys
sys.path.insert(0, sys.argv[2])
import numpy as np, values
found = {}
for base, _, names in os.walk(sys.argv[1]):
    for name in names:
        if name.endswith(".npy"):
            path = os.path.join(base, name)
            array = np.load(path, mmap_mode="r") if os.path.getsize(path) > 1000 else np.load(path)
            found[os.path.relpath(path, sys.argv[1])[:-4]] = values.digest(array)
print(json.dumps(found))
"""


def test_numpy_loads_and_maps_every_array(corpus: Corpus, tmp_path: Path) -> None:
    expected = corpus.expected("zarr3")
    with mounted(corpus.stored_zip, tmp_path / "mnt", "-o", "ro,view=flat") as folder:
        found = json.loads(tool(sys.executable, "-c", LOAD_ALL, folder, PROGRAMS))
    known = {a: d for a, d in found.items() if not expected[a].startswith("error")}
    assert known == {a: expected[a] for a in known}
    assert len(known) > 0.9 * sum(not d.startswith("error") for d in expected.values())


def dataset() -> Any:
    rng = np.random.default_rng(5)
    t = xarray.DataArray(rng.normal(280, 9, (3, 4, 8)), dims=("time", "lat", "lon"))
    n = np.arange(32, dtype="i4").reshape(4, 8)
    return xarray.Dataset(
        {"t": t.assign_attrs(units="K"), "n": (("lat", "lon"), n)},
        coords={
            "time": ("time", np.array([0, 6, 12]), {"units": "hours since 2000-01-01"}),
            "lat": ("lat", np.linspace(-60, 60, 4), {"units": "degrees_north"}),
            "lon": ("lon", np.arange(8) * 45.0, {"units": "degrees_east"}),
        },
        attrs={"title": "made by a test"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder `netcdf` and a folder `flat` of one zipped data set, mounted one by one."""
    base = tmp_path_factory.mktemp("files")
    encoding = {"t": {"chunks": (2, 3, 4)}}
    dataset().to_zarr(base / "s", zarr_format=3, consolidated=False, encoding=encoding)
    shutil.make_archive(str(base / "s"), "zip", base / "s")
    with (
        mounted(base / "s.zip", base / "netcdf", "-o", "ro,view=netcdf"),
        mounted(base / "s.zip", base / "flat", "-o", "ro,view=flat"),
    ):
        yield base


def test_ncdump(files: Path) -> None:
    path = files / "netcdf" / "root.nc"
    header = tool("ncdump", "-h", path)
    for line in ("double t(time, lat, lon)", 't:units = "K"', ':title = "made by a test"'):
        assert line in header
    assert tool("ncdump", "-k", path).strip() in ("64-bit offset", "cdf5")


def test_ncks(files: Path) -> None:
    text = tool("ncks", "-C", "-H", "-s", "%.17g\n", "-v", "t", files / "netcdf" / "root.nc")
    numbers = np.array(text.split(), "f8")
    assert numbers.tobytes() == dataset().t.values.tobytes()


def test_cdo(files: Path) -> None:
    path = files / "netcdf" / "root.nc"
    text = tool("cdo", "-s", "outputf,%.17g,1", "-selname,t", path)
    assert np.array(text.split(), "f8").tobytes() == dataset().t.values.tobytes()
    mean = tool("cdo", "-s", "outputf,%.12g,1", "-timmean", "-fldmean", "-selname,t", path)
    assert 260 < float(mean) < 300


def test_gdal_reads_raw_values_by_their_header(files: Path) -> None:
    described = json.loads(tool("gdalinfo", "-json", "-stats", files / "flat" / "n.raw"))
    assert (described["driverShortName"], described["size"]) == ("ENVI", [8, 4])
    statistics = described["bands"][0]
    assert (statistics["minimum"], statistics["maximum"]) == (0, 31)


def test_gdal_reads_netcdf(files: Path) -> None:
    described = json.loads(tool("gdalmdiminfo", files / "netcdf" / "root.nc"))
    assert described["arrays"]["t"]["dimensions"] == ["/time", "/lat", "/lon"]


C_PROGRAM = r"""
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
int main(int argc, char **argv) {
    struct stat s;
    int fd = open(argv[1], O_RDONLY);
    if (fd < 0 || fstat(fd, &s)) return 1;
    double *values = mmap(0, s.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (values == MAP_FAILED) return 2;
    for (long i = 0; i < (long)(s.st_size / sizeof(double)); i++) printf("%.17g\n", values[i]);
    return 0;
}
"""


def test_c_maps_raw_values(files: Path, tmp_path: Path) -> None:
    (tmp_path / "m.c").write_text(C_PROGRAM)
    tool("cc", "-o", tmp_path / "m", tmp_path / "m.c")
    numbers = np.array(tool(tmp_path / "m", files / "flat" / "t.raw").split(), "f8")
    assert numbers.tobytes() == dataset().t.values.tobytes()


def test_octave_reads_raw_values(files: Path) -> None:
    script = f"f=fopen('{files / 'flat' / 't.raw'}'); printf('%.17g\\n', fread(f, Inf, 'double'));"
    numbers = np.array(tool("octave-cli", "--norc", "--eval", script).split(), "f8")
    assert numbers.tobytes() == dataset().t.values.tobytes()


def test_r_reads_raw_values(files: Path) -> None:
    path = files / "flat" / "t.raw"
    script = f"cat(sprintf('%.17g\\n', readBin('{path}', 'double', 96, endian='little')))"
    numbers = np.array(tool("Rscript", "-e", script).split(), "f8")
    assert numbers.tobytes() == dataset().t.values.tobytes()
