"""The distinct values of a column. Pure; any thread."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Ints: TypeAlias = NDArray[Any]


def distinct(values: Ints) -> tuple[Ints, Ints]:
    """Return the distinct values in order, and the place of each value among them.

    What `np.unique` does, which imports masked arrays on its way: a tenth of
    the time that a small archive takes to be mounted.

    >>> [part.tolist() for part in distinct(np.array([7, 3, 7]))]
    [[3, 7], [1, 0, 1]]
    """
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    first = np.ones(len(values), bool)
    first[1:] = ordered[1:] != ordered[:-1]
    places = np.empty(len(values), np.intp)
    places[order] = np.cumsum(first) - 1
    return ordered[first], places
