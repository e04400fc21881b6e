"""`zarrfs doctor` where mounts work."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator

import pytest

from tests.commands import zarrfs
from tests.mounted.test_native_unprivileged import LOCK


@pytest.fixture
def unchanging_device() -> Iterator[None]:
    """Tests of plain users change the mode of /dev/fuse for as long as they hold this."""
    with open(LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.mark.usefixtures("unchanging_device")
def test_for_people_and_for_programs() -> None:
    findings = json.loads(zarrfs("doctor", "--json").stdout)
    states = {finding["name"]: finding["state"] for finding in findings}
    assert states["a trial mount"] == "works"
    assert "broken" not in states.values()
    text = zarrfs("doctor").stdout
    for finding in findings:
        assert finding["name"] in text
        assert finding["fix"] in text
