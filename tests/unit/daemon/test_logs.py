"""The log's formats, priorities, levels and limits."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from zarrfs.daemon.logs import LogSettings, RepeatLimit, narrow_logging, set_up_logging


@pytest.fixture(autouse=True)
def undo() -> Iterator[None]:
    root = logging.getLogger("zarrfs")
    before = (list(root.handlers), root.propagate, root.level)
    yield
    root.handlers[:], root.propagate = before[0], before[1]
    root.setLevel(before[2])


def test_text_names_level_and_mount(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(LogSettings())
    logging.getLogger("zarrfs.mount.a").warning("slow %s", "disk")
    logging.getLogger("zarrfs.supervisor").debug("unseen")
    line = capsys.readouterr().err
    assert line.endswith(" warning a: slow disk\n")
    assert line[:2] == "20"


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(LogSettings(format="json"))
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger("zarrfs.mount.a").exception("gone\nwrong")
    entry = json.loads(capsys.readouterr().err)
    assert (entry["level"], entry["mount"], entry["message"]) == ("error", "a", "gone\nwrong")
    assert "ValueError: why" in entry["exception"]


def test_the_journal_gets_priorities_on_every_line(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(LogSettings(to="journal"))
    logging.getLogger("zarrfs.x").error("one\ntwo")
    logging.getLogger("zarrfs.x").info("three")
    assert capsys.readouterr().err == "<3>error x: one\n<3>two\n<6>info x: three\n"


def test_a_mount_may_have_its_own_level(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(LogSettings(mount_levels={"loud": "debug"}))
    logging.getLogger("zarrfs.mount.loud").debug("heard")
    logging.getLogger("zarrfs.mount.other").debug("not heard")
    assert capsys.readouterr().err.count("heard") == 1


def test_all_that_a_worker_says_is_its_mounts(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(LogSettings(level="error", format="json", mount_levels={"loud": "debug"}))
    for name in ("loud", "other"):
        narrow_logging(name)
        logging.getLogger("zarrfs.storage.zip").debug("from %s", name)
    entry = json.loads(capsys.readouterr().err)
    assert (entry["mount"], entry["message"]) == ("loud", "from loud")


def test_a_level_that_is_taken_away_is_gone(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(LogSettings(mount_levels={"a": "debug"}))
    set_up_logging(LogSettings())
    logging.getLogger("zarrfs.mount.a").debug("unseen")
    assert capsys.readouterr().err == ""


def test_text_is_no_terminals_master(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(LogSettings(to="journal"))
    logging.getLogger("zarrfs.mount.a").error("%s", "\x1b[2Jgone\x9b")
    assert capsys.readouterr().err == "<3>error a: \\x1b[2Jgone\\x9b\n"


def test_repeats_are_held_back_and_counted() -> None:
    limit = RepeatLimit(burst=2, period_s=10)

    def passes(created: float, line: int = 1, name: str = "zarrfs.x") -> str:
        record = logging.LogRecord(name, logging.ERROR, "file.py", line, "bad %d%%", (1,), None)
        record.created = created
        return record.getMessage() if limit.filter(record) else ""

    assert [passes(at) for at in (0, 1, 2, 3)] == [
        "bad 1%",
        "bad 1% (more like this are held back for 9 s)",
        "",
        "",
    ]
    assert passes(3, line=2) == "bad 1%"
    assert passes(11) == "bad 1% (2 more like this were held back)"
    assert passes(12).startswith("bad 1% (more")
    assert {passes(13, name="zarrfs.supervisor") for _ in range(9)} == {"bad 1%"}
