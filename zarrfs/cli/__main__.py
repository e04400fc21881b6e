"""`python -m zarrfs.cli`: the command where its script is not on the path."""

from __future__ import annotations

from zarrfs.cli.main import main

main()
