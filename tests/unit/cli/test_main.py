"""The command itself: help, exit status, and errors of one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from zarrfs import errors
from zarrfs.cli.exit_codes import MEANINGS, ExitCode, exit_code_of
from zarrfs.cli.main import SUBCOMMANDS, run


def test_without_arguments_it_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == ExitCode.USAGE
    told = capsys.readouterr()
    assert "zarrfs mount data.zarr.zip /mnt/data" in told.out + told.err


def test_help_lists_every_command_and_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == ExitCode.OK
    shown = capsys.readouterr().out
    for name, row in SUBCOMMANDS.items():
        assert name in shown
        assert row.help in shown
    for meaning in MEANINGS.values():
        assert meaning in shown


@pytest.mark.parametrize("name", [*SUBCOMMANDS, "umount"])
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([name, "--help"]) == ExitCode.OK
    assert len(capsys.readouterr().out.splitlines()) > 5


def test_mount_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    from zarrfs.daemon.options import FLAGS, VALUED

    run(["mount", "--help"])
    shown = capsys.readouterr().out
    assert all(f"  {name}" in shown for name, row in FLAGS.items() if row.help)
    assert all(f"  {name}={row.metavar}" in shown for name, row in VALUED.items())
    from zarrfs.views.registry import view_names

    assert all(name in " ".join(shown.split()) for name in view_names())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["moun"], "Did you mean mount?"),
        (["mount"], "Missing argument"),
        (["mount", "a", "b", "--forground"], "--foreground"),
        (["mount", "a", "b", "-o", "alow_other"], "did you mean allow_other?"),
        (["mount", "/no/such/archive.zip", "/tmp"], "/no/such/archive.zip: no such file"),
        (["mount", "memory:", "/tmp", "--type", "zip"], "a store in memory"),
        (["info", "/no/such/store"], "/no/such/store"),
        (["verify", "/no/such/store"], "/no/such/store"),
    ],
)
def test_a_wrong_command_line(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == ExitCode.USAGE
    told = capsys.readouterr().err
    assert says in told
    assert "Traceback" not in told


def test_every_error_has_an_exit_status() -> None:
    for name in dir(errors):
        cls = getattr(errors, name)
        if isinstance(cls, type) and issubclass(cls, errors.ZarrfsError):
            assert exit_code_of(cls.__new__(cls)) in (
                ExitCode.CONTENT,
                ExitCode.USAGE,
                ExitCode.SYSTEM,
            )
    assert exit_code_of(errors.CorruptError()) is ExitCode.CONTENT
    assert exit_code_of(errors.PathNotFoundError()) is ExitCode.USAGE
    assert exit_code_of(errors.BusyError("x")) is ExitCode.SYSTEM
    assert exit_code_of(PermissionError()) is ExitCode.SYSTEM


def test_mount_starts_without_what_other_commands_need() -> None:
    """The start of `zarrfs mount` is what every mount waits for."""
    heavy = "numpy rich pydantic zarr_metadata numcodecs prometheus_client yaml zarr asyncio"
    code = (
        "import sys, zarrfs.cli.main, zarrfs.cli.mount\n"
        f"print([name for name in {heavy.split()} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_reader_that_has_gone_is_no_error(folder: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "zarrfs.cli", "info", "--json", str(folder)]
    with os.fdopen(writer, "wb") as output:
        done = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, timeout=60)
    assert (done.returncode, done.stderr) == (ExitCode.OK, b"")
