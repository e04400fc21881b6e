"""`zarrfs serve`: all mounts of a configuration file, until told to end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from zarrfs.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from zarrfs.daemon.logs import LogTarget


@click.command()
@click.option(
    "--config",
    "-c",
    "file",
    required=True,
    type=click.Path(readable=False),
    help="The configuration file.",
)
@click.option(
    "--log",
    type=click.Choice(["stderr", "journal"]),
    help="Where messages go, whatever the file says; journal adds its priorities.",
)
def serve(file: str, log: LogTarget | None) -> int:
    """Mount everything that FILE lists, and keep it mounted.

    Runs in the foreground with a worker process for each mount; one that dies
    is replaced, and who reads or writes notices a pause at most. Signals:

    \b
      SIGTERM, SIGINT  commit, unmount all and end
      SIGHUP           read the file again; unchanged mounts are not touched
      SIGUSR1          log statistics and stacks
      SIGUSR2          make everything durable now
    """
    from zarrfs.daemon import service
    from zarrfs.daemon.service_plan import BadConfigError

    try:
        return service.serve(file, log_to=log)
    except BadConfigError as error:
        click.echo(str(error), err=True)  # a line for each problem
        return ExitCode.USAGE
