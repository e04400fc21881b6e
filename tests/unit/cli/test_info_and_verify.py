"""`zarrfs info` and `zarrfs verify` on small stores, right and wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from zarrfs.cli.exit_codes import ExitCode
from zarrfs.cli.main import run

Capture = pytest.CaptureFixture[str]


def shown(capsys: Capture, *arguments: str | Path, status: int = ExitCode.OK) -> str:
    assert run([str(argument) for argument in arguments]) == status
    return capsys.readouterr().out


def shown_json(capsys: Capture, *arguments: str | Path, status: int = ExitCode.OK) -> Any:
    return json.loads(shown(capsys, *arguments, "--json", status=status))


def test_info_tells_all_of_an_array(folder: Path, archive: Path, capsys: Capture) -> None:
    for source in (folder, archive):
        nodes = {node["path"]: node for node in shown_json(capsys, "info", source)}
        assert list(nodes) == ["", "a/deep", "old"]
        assert nodes[""]["attributes"] == 1
        deep = nodes["a/deep"]
        assert (deep["kind"], deep["format"], deep["dtype"]) == ("array", 3, "float32")
        assert (deep["shape"], deep["chunks"], deep["shards"]) == ([4, 8], [2, 4], None)
        assert (deep["chunks_present"], deep["chunks_total"]) == (3, 4)
        assert (deep["stored_bytes"], deep["logical_bytes"]) == (96, 128)
        assert nodes["old"]["codecs"] == []


def test_info_for_people(folder: Path, capsys: Capture) -> None:
    text = shown(capsys, "info", folder)
    assert "a/deep" in text
    assert "array v3, float32 4 x 8" in text
    assert "3 of 4 chunks" in text
    assert "96 B for 128 B" in text


def test_info_of_a_part_and_in_a_hurry(folder: Path, capsys: Capture) -> None:
    assert [n["path"] for n in shown_json(capsys, "info", folder, "--root", "a")] == ["a/deep"]
    (node,) = shown_json(capsys, "info", folder / "a" / "deep", "--quick")
    assert (node["path"], node["chunks_present"], node["chunks_total"]) == ("", None, 4)


def test_info_where_there_is_no_zarr(tmp_path: Path, capsys: Capture) -> None:
    assert run(["info", str(tmp_path)]) == ExitCode.CONTENT
    assert "nothing of Zarr is in it" in capsys.readouterr().err


def test_info_shows_what_is_broken_and_goes_on(folder: Path, capsys: Capture) -> None:
    (folder / "old" / ".zarray").write_text("{")
    text = shown(capsys, "info", folder, status=ExitCode.CONTENT)
    assert "not JSON" in text
    assert "3 of 4 chunks" in text


def test_verify_a_good_store(folder: Path, archive: Path, capsys: Capture) -> None:
    (folder / "README").write_text("not a part of Zarr")
    for source, others in ((folder, 1), (archive, 0)):
        result = shown_json(capsys, "verify", source)
        assert result["faults"] == []
        assert (result["nodes"], result["chunks"], result["other_files"]) == (3, 4, others)
    assert "all is well" in shown(capsys, "verify", folder)


def faults(capsys: Capture, source: Path) -> dict[str, str]:
    result = shown_json(capsys, "verify", source, status=ExitCode.CONTENT)
    return {fault["key"]: fault["reason"] for fault in result["faults"]}


def test_verify_finds_each_fault(folder: Path, capsys: Capture) -> None:
    (folder / "a" / "deep" / "c" / "0" / "1").write_bytes(b"short")
    (folder / "old" / "1").write_bytes(b"")
    document = folder / "zarr.json"
    document.write_text(document.read_text().replace('"group"', '"grupp"'))
    (folder / ".zmetadata").write_text("[")
    found = faults(capsys, folder)
    assert set(found) == {"a/deep/c/0/1", "old/1", "zarr.json", ".zmetadata"}
    listed = shown(capsys, "verify", folder, status=ExitCode.CONTENT)
    assert "4 faults" in listed


def test_verify_checks_an_archives_checksums(archive: Path, capsys: Capture) -> None:
    data = bytearray(archive.read_bytes())
    at = data.index(b"a/deep/c/1/0") + len(b"a/deep/c/1/0")
    data[at] ^= 0xFF
    archive.write_bytes(data)
    assert set(faults(capsys, archive)) == {"a/deep/c/1/0"}


def test_verify_says_what_it_cannot_decode(folder: Path, capsys: Capture) -> None:
    document = folder / "a" / "deep" / "zarr.json"
    metadata = json.loads(document.read_text())
    metadata["codecs"].append({"name": "of-another-world"})
    document.write_text(json.dumps(metadata))
    result = shown_json(capsys, "verify", folder)
    assert list(result["undecodable"]) == ["a/deep"]
    assert result["chunks"] == 4


def test_verify_where_there_is_no_zarr(tmp_path: Path, capsys: Capture) -> None:
    assert run(["verify", str(tmp_path)]) == ExitCode.CONTENT
    assert "nothing of Zarr is in it" in capsys.readouterr().err
