"""`zarrfs doctor`: what works on this machine, and the command that mends what does not."""

from __future__ import annotations

import json

import click

from zarrfs.cli.doctor_checks import Finding, State, examine
from zarrfs.cli.exit_codes import ExitCode

_MARKS = {
    State.WORKS: click.style("ok  ", fg="green"),
    State.LIMITED: click.style("-   ", fg="yellow"),
    State.BROKEN: click.style("FAIL", fg="red", bold=True),
}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the findings for a program to read.")
def doctor(as_json: bool) -> ExitCode:
    """Say what works on this machine, and how to mend what does not.

    "ok" works; "-" is something that mounts do without; "FAIL" keeps you from
    mounting. Exits 3 when something fails.
    """
    findings = examine()
    if as_json:
        click.echo(json.dumps([finding._asdict() for finding in findings], indent=2))
    else:
        _print(findings)
    broken = any(finding.state is State.BROKEN for finding in findings)
    return ExitCode.SYSTEM if broken else ExitCode.OK


def _print(findings: list[Finding]) -> None:
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        click.echo(f"{_MARKS[finding.state]}  {finding.name:{width}}  {finding.found}")
        if finding.fix:
            click.echo(f"{'':6}{'':{width}}  fix: {finding.fix}")
