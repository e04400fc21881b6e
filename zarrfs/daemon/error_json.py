"""Errors that travel from one of our processes to another, as plain values."""

from __future__ import annotations

from typing import Any

from zarrfs import errors
from zarrfs.errors import UnavailableError, ZarrfsError


def error_to_json(error: ZarrfsError | OSError) -> dict[str, Any]:
    """Return an error's class and fields as text."""
    if isinstance(error, ZarrfsError):
        fields = {key: str(vars(error)[key]) for key in ("subject", "reason", "remedy")}
    else:
        fields = {"subject": str(error.filename or ""), "reason": str(error.strerror or error)}
    return {"error": type(error).__name__, **fields}


def error_from_json(values: dict[str, Any]) -> ZarrfsError:
    """Make the error again, as the class it was where that can be."""
    cls = getattr(errors, str(values["error"]), UnavailableError)
    error: ZarrfsError = cls.__new__(cls)
    ZarrfsError.__init__(
        error, values["subject"], values["reason"], remedy=values.get("remedy", "")
    )
    return error
