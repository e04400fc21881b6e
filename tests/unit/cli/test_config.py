"""`zarrfs config`, `zarrfs check`, and `zarrfs serve` with a file that is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.commands import zarrfs
from zarrfs.cli.exit_codes import ExitCode
from zarrfs.cli.main import run
from zarrfs.daemon.config_schema import json_schema

Output = pytest.CaptureFixture[str]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "zarrfs.yaml"
    file.write_text("mounts:\n  - {name: a, source: memory, target: a, mkdir: true}\n")
    return file


@pytest.mark.parametrize("command", [["config", "check"], ["check"]])
def test_what_is_right_is_said_to_be(file: Path, capsys: Output, command: list[str]) -> None:
    assert run([*command, str(file)]) == ExitCode.OK
    assert capsys.readouterr() == (f"{file}: 1 mount, no problems\n", "")


@pytest.mark.parametrize("command", [["config", "check"], ["check"], ["serve", "--config"]])
def test_each_problem_has_a_line(file: Path, command: list[str]) -> None:
    file.write_text("mont: 1\n" + file.read_text().replace("mkdir", "required: 1, mkdir"))
    done = zarrfs(*command, file, check=False)
    assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")
    assert done.stderr == (
        f"{file}:1: mont: unknown key; did you mean mounts?\n"
        f"{file}:3: mounts[0].required: must be true or false\n"
    )


@pytest.mark.parametrize("missing", ["none.yaml", "folder"])
def test_a_file_that_cannot_be_read(tmp_path: Path, missing: str) -> None:
    (tmp_path / "folder").mkdir()
    for command in (["check"], ["serve", "--config"]):
        done = zarrfs(*command, tmp_path / missing, check=False)
        assert done.returncode == ExitCode.USAGE
        assert done.stderr.startswith(f"{tmp_path / missing}: ")


def test_what_may_mend_itself_can_be_let_pass(file: Path, capsys: Output) -> None:
    file.write_text(file.read_text().replace("memory", "gone.zip"))
    assert run(["check", str(file), "--json"]) == ExitCode.USAGE
    (problem,) = json.loads(capsys.readouterr().out)
    assert problem == {
        "file": str(file),
        "line": 2,
        "key": "mounts[0].source",
        "text": f"{file.parent}/gone.zip does not exist",
        "transient": True,
    }
    assert run(["check", str(file), "--only-errors"]) == ExitCode.OK


def test_the_schema_is_printed(capsys: Output) -> None:
    assert run(["config", "schema"]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out) == json_schema()
