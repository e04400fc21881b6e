"""The journal: what a successor finds after SIGKILL, and after power loss."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from zarrfs.errors import CorruptError, UnavailableError
from zarrfs.storage.inodes import journal as journal_module
from zarrfs.storage.inodes.journal import SEGMENT_BYTES, Journal, data_crc32c
from zarrfs.storage.inodes.journal_header import MAX_CONTEXT_BYTES
from zarrfs.storage.inodes.records import Record, Remove, Write
from zarrfs.storage.inodes.space import Space


def note(number: int, text: bytes) -> Remove:
    """Any record will do."""
    return Remove(number, 0, text)


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path / "journal", os.O_RDWR | os.O_CREAT, 0o600)
    yield fd
    os.close(fd)


def begin(fd: int, *, durable: bool = True, context: bytes = b"") -> Journal:
    return Journal.create(Space(fd, mapped=False), durable=durable, context=context)


def reopened(fd: int, *, durable: bool = True) -> tuple[Journal, list[Record]]:
    journal = Journal.open(Space(fd, mapped=False), durable=durable)
    found = list(journal.replay())
    journal.space.restore(journal.segments)
    return journal, found


@pytest.fixture
def power_loss(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the next openings happen in another run of the machine."""
    monkeypatch.setattr(
        "zarrfs.storage.inodes.journal.current_boot_id", lambda: uuid.UUID(int=7).bytes
    )
    yield


def append_content(journal: Journal, data: bytes) -> Write:
    source = journal.space.store(data)
    record = Write(2, 0, len(data), source, data_crc32c(data), 1)
    journal.append(record)
    return record


def test_records_come_back_in_order(fd: int) -> None:
    journal = begin(fd, context=b"what this belongs to")
    notes = [note(number, b"x" * number) for number in range(100)]
    for one in notes:
        journal.append(one)
    again, found = reopened(fd)
    assert found == notes
    assert again.context == b"what this belongs to"


def test_records_go_on_over_many_segments_and_after_each_opening(fd: int) -> None:
    journal = begin(fd)
    expected = []
    for number in range(5):
        for _ in range(3):
            half = note(number, b"y" * (SEGMENT_BYTES // 2))
            journal.append(half)
            expected.append(half)
        big = note(number, b"z" * (3 * SEGMENT_BYTES))
        journal.append(big)
        expected.append(big)
        journal, found = reopened(fd)
        assert found == expected


@pytest.mark.parametrize("cut", [1, 10, 19, 20, 25])
def test_a_record_cut_short_by_a_kill_ends_the_replay(fd: int, cut: int) -> None:
    journal = begin(fd)
    journal.append(note(1, b"whole"))
    begin_of_torn = journal._cursor
    journal.append(note(2, b"torn"))
    os.pwrite(fd, bytes(200), begin_of_torn + cut)
    again, found = reopened(fd)
    assert found == [note(1, b"whole")]
    again.append(note(3, b"next"))
    assert reopened(fd)[1] == [note(1, b"whole"), note(3, b"next")]


def test_a_kill_loses_nothing_that_was_written(fd: int) -> None:
    journal = begin(fd)
    record = append_content(journal, b"never synced")
    os.pwrite(fd, b"X", record.source)  # content is not even looked at
    assert reopened(fd)[1] == [record]


@pytest.mark.usefixtures("power_loss")
class TestAfterPowerLoss:
    """Pages of an unsynced tail may be missing, in any order."""

    @pytest.fixture
    def journal(self, fd: int, monkeypatch: pytest.MonkeyPatch) -> Journal:
        with monkeypatch.context() as before:
            before.setattr(journal_module, "current_boot_id", lambda: uuid.UUID(int=6).bytes)
            return begin(fd)

    def test_intact_content_is_taken(self, fd: int, journal: Journal) -> None:
        records = [append_content(journal, b"one"), append_content(journal, b"two")]
        again, found = reopened(fd)
        assert found == records
        assert again.replayed_after_reboot

    def test_replay_ends_before_content_that_is_missing(self, fd: int, journal: Journal) -> None:
        first = append_content(journal, b"first")
        lost = append_content(journal, b"second")
        append_content(journal, b"third")
        os.pwrite(fd, bytes(lost.size), lost.source)
        again, found = reopened(fd)
        assert found == [first]
        again.append(note(1, b""))
        assert reopened(fd)[1] == [first, note(1, b"")]

    def test_what_was_synced_is_not_doubted(self, fd: int, journal: Journal) -> None:
        """Its content may have been given back since, and then reads as zeros."""
        overwritten = append_content(journal, b"o" * 8192)
        journal.sync()
        os.pwrite(fd, bytes(8192), overwritten.source)
        last = append_content(journal, b"last")
        assert reopened(fd)[1] == [overwritten, last]

    def test_space_is_given_back_only_when_its_death_is_durable(
        self, fd: int, journal: Journal, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        released: list[tuple[int, int]] = []
        monkeypatch.setattr(journal.space, "release", released.extend)
        journal.append(note(1, b"the record that kills"))
        with journal.lock:
            journal.bury([(8192, 12288)])
        journal.sync()
        assert released == []  # the mark that covers it may still be lost
        journal.append(note(2, b""))
        journal.sync()
        assert released == [(8192, 12288)]


def test_a_sync_with_nothing_new_is_free(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = begin(fd)
    journal.append(note(1, b""))
    journal.sync()

    def unexpected(fd: int) -> None:
        raise AssertionError("synced again")

    monkeypatch.setattr(os, "fdatasync", unexpected)
    journal.sync()


def test_a_failed_sync_fails_for_ever(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = begin(fd)
    journal.append(note(1, b""))

    def failing(fd: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fdatasync", failing)
        with pytest.raises(UnavailableError):
            journal.sync()
    with pytest.raises(UnavailableError):
        journal.sync()


def test_rewriting_drops_the_old_chain(fd: int) -> None:
    journal = begin(fd)
    for number in range(1000):
        journal.append(note(number, b"old" * 100))
    with journal.lock:
        journal.rewrite([note(1, b"new")], context=b"changed")
    assert len(journal.segments) == 1
    journal.append(note(2, b"after"))
    again, found = reopened(fd)
    assert found == [note(1, b"new"), note(2, b"after")]
    assert again.context == b"changed"


def test_a_rewrite_cut_short_leaves_the_old_chain(fd: int) -> None:
    journal = begin(fd)
    journal.append(note(1, b"old"))

    def records() -> Iterator[Record]:
        yield note(2, b"new")
        raise UnavailableError(reason="no more")

    with pytest.raises(UnavailableError), journal.lock:
        journal.rewrite(records())
    journal.append(note(3, b"goes on"))
    assert reopened(fd)[1] == [note(1, b"old"), note(3, b"goes on")]


def test_either_header_may_be_torn(fd: int) -> None:
    journal = begin(fd)
    journal.append(note(1, b""))
    slot = journal._header.sequence % 2 * 2048
    for damaged_slot in (slot, 2048 - slot):
        saved = os.pread(fd, 2048, damaged_slot)
        os.pwrite(fd, bytes(100), damaged_slot)
        if damaged_slot == slot:
            # The switch to it never happened: only an empty first slot is left.
            with pytest.raises(CorruptError):
                Journal.open(Space(fd, mapped=False), durable=True)
        else:
            assert reopened(fd)[1] == [note(1, b"")]
        os.pwrite(fd, saved, damaged_slot)


def test_what_is_no_journal_is_refused(fd: int) -> None:
    with pytest.raises(CorruptError):
        Journal.open(Space(fd, mapped=False), durable=True)


def test_context_fills_its_slot(fd: int) -> None:
    begin(fd, context=b"c" * MAX_CONTEXT_BYTES)
    assert reopened(fd)[0].context == b"c" * MAX_CONTEXT_BYTES


def test_the_context_can_be_changed(fd: int) -> None:
    journal = begin(fd, context=b"before")
    journal.append(note(1, b""))
    journal.set_context(b"after")
    again, found = reopened(fd)
    assert again.context == b"after"
    assert found == [note(1, b"")]
