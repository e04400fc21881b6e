"""The `zarrfs` command: finds the subcommand, and turns errors into one line.

A subcommand's module is imported only when it is the one that runs, so that
`zarrfs mount` does not wait for what only `zarrfs info` needs.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

import click

from zarrfs.cli.exit_codes import MEANINGS, ExitCode, exit_code_of
from zarrfs.errors import ZarrfsError


class Subcommand(NamedTuple):
    """Where a subcommand lives, and its line in `zarrfs --help`."""

    module: str
    attribute: str
    help: str


SUBCOMMANDS = {
    "mount": Subcommand("mount", "mount", "Mount a store as a folder tree."),
    "unmount": Subcommand("unmount", "unmount", "Unmount, and wait until all is written."),
    "info": Subcommand("info", "info", "Show the hierarchy: arrays, chunks, sizes."),
    "verify": Subcommand("verify", "verify", "Check every document and every chunk."),
    "pack": Subcommand("pack", "pack", "Copy a store into a new archive or folder."),
    "compact": Subcommand("compact", "compact", "Free what was replaced or deleted in an archive."),
    "repair": Subcommand("repair", "repair", "Make an archive whole again after a crash."),
    "status": Subcommand("status", "status", "Show every mount: its state and what it does."),
    "config": Subcommand("config", "config", "Check a configuration file; print its schema."),
    "serve": Subcommand("serve", "serve", "Keep all mounts of a configuration file up."),
    "check": Subcommand("config", "check", "The same as `config check`."),
    "install-helper": Subcommand(
        "install_helper", "install_helper", "Make mount -t zarrfs and fstab lines work."
    ),
    "doctor": Subcommand("doctor", "doctor", "Say what works on this machine, and what would."),
}
ALIASES = {"umount": "unmount"}

_EPILOG = "\b\nExit status:\n" + "\n".join(
    f"  {int(code):3}  {meaning}" for code, meaning in MEANINGS.items()
)


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        row = SUBCOMMANDS.get(ALIASES.get(cmd_name, cmd_name))
        if row is None:
            return None
        command = getattr(importlib.import_module(f"zarrfs.cli.{row.module}"), row.attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            close = difflib.get_close_matches(args[0], [*SUBCOMMANDS, *ALIASES], n=1)
            if not close:
                raise
            raise click.UsageError(f"{error.message} Did you mean {close[0]}?", ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, row.help) for name, row in SUBCOMMANDS.items()])


@click.group(
    cls=_LazyGroup,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="zarrfs", message="%(prog)s %(version)s")
def zarrfs() -> None:
    """A Zarr store shown as a file tree.

    Any Zarr v2 or v3 store (a zip archive, a folder, memory) becomes a folder
    that every program can read:

    \b
      zarrfs mount data.zarr.zip /mnt/data
      ls /mnt/data
      zarrfs unmount /mnt/data
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit status; errors become one line on stderr."""
    return run_command(zarrfs, arguments, "zarrfs")


def run_command(command: click.Command, arguments: Sequence[str], name: str) -> int:
    """Run a command and return its exit status; errors become one line on stderr."""
    try:
        status = command.main(args=list(arguments), prog_name=name, standalone_mode=False)
        return status if isinstance(status, int) else ExitCode.OK
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.Abort:
        return ExitCode.INTERRUPTED
    except click.ClickException as error:
        error.show()
        return ExitCode.USAGE
    except SystemExit:
        # click's way out when the reader of our output (`| head`) has gone.
        return ExitCode.OK
    except (ZarrfsError, OSError) as error:
        click.echo(f"{name}: {describe(error)}", err=True)
        return exit_code_of(error)


def describe(error: ZarrfsError | OSError) -> str:
    """Return an error as one line: subject, reason and, where known, the way out."""
    if isinstance(error, OSError):
        return ": ".join(str(part) for part in (error.filename, error.strerror or error) if part)
    return " ".join(str(error).split())
