"""`zarrfs config check` and `zarrfs config schema`: the configuration file of `zarrfs serve`."""

from __future__ import annotations

import json

import click

from zarrfs.cli.exit_codes import ExitCode


@click.group()
def config() -> None:
    """Check a configuration file, or print its schema.

    `config.example.yaml` shows and explains every key.
    """


@config.command()
@click.argument("file", type=click.Path(readable=False))
@click.option("--json", "as_json", is_flag=True, help="Print the problems for a program to read.")
@click.option(
    "--only-errors",
    is_flag=True,
    help="Let pass what `serve` retries by itself, such as a source that is missing now.",
)
def check(file: str, as_json: bool, only_errors: bool) -> ExitCode:
    """Report every problem of FILE at once, each with its line and key.

    Exits 2 when there is any.
    """
    from zarrfs.daemon.config_file import ConfigError, load_config

    try:
        loaded = load_config(file)
        problems, mounts = loaded.problems, len(loaded.config.mounts)
    except ConfigError as error:
        problems, mounts = error.problems, 0
    if only_errors:
        problems = tuple(problem for problem in problems if not problem.transient)
    if as_json:
        rows = [
            {"file": p.file, "line": p.line, "key": p.key, "text": p.text, "transient": p.transient}
            for p in problems
        ]
        click.echo(json.dumps(rows, indent=2))
    for problem in () if as_json else problems:
        click.echo(str(problem), err=True)
    if not problems and not as_json:
        click.echo(f"{file}: {mounts} mount{'s' * (mounts != 1)}, no problems")
    return ExitCode.USAGE if problems else ExitCode.OK


@config.command()
def schema() -> None:
    """Print the JSON Schema of the file, for editors that check while one types."""
    from zarrfs.daemon.config_schema import json_schema

    click.echo(json.dumps(json_schema(), indent=2))
