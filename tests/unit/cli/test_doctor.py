"""`zarrfs doctor` finds what is there, and says how to mend what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from zarrfs.cli import doctor_checks
from zarrfs.cli.doctor_checks import (
    CHECKS,
    State,
    check_allow_other,
    check_device,
    check_trial_mount,
)
from zarrfs.daemon import mounting_checks


def test_every_finding_that_does_not_work_says_what_to_do() -> None:
    for check in CHECKS:
        if check is check_trial_mount:
            continue  # tests/mounted tries that
        finding = check()
        assert finding.found
        assert finding.fix or finding.state is not State.BROKEN


def test_a_missing_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_checks, "FUSE_DEVICE", str(tmp_path / "fuse"))
    finding = check_device()
    assert finding.state is State.BROKEN
    assert "modprobe fuse" in finding.fix


def test_fuse_conf_is_read_as_libfuse_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conf = tmp_path / "fuse.conf"
    monkeypatch.setattr(mounting_checks, "FUSE_CONF", str(conf))
    assert not mounting_checks.user_allow_other()
    conf.write_text("# user_allow_other\n#user_allow_other\n")
    assert not mounting_checks.user_allow_other()
    conf.write_text("mount_max = 10\n user_allow_other \n")
    assert mounting_checks.user_allow_other()
    assert check_allow_other().state is State.WORKS
