"""Cases that `make test` and `make long` share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from _pytest.mark import ParameterSet


def one_of(n: int, cases: Iterable[Any]) -> list[ParameterSet]:
    """One of n cases for `make test`, spread evenly; the others for `make long`.

    A case is a value, or a tuple of values for several names.
    """
    return [_case(_tuple(each), left_out=i % n > 0) for i, each in enumerate(cases)]


def turns(cases: Iterable[Any], settings: Sequence[Any]) -> list[ParameterSet]:
    """Every case with every setting: one of them for `make test`, by turns; the others for `make long`."""
    return [
        _case((*_tuple(each), setting), left_out=turn % len(settings) != at)
        for turn, each in enumerate(cases)
        for at, setting in enumerate(settings)
    ]


def _tuple(case: Any) -> tuple[Any, ...]:
    return case if isinstance(case, tuple) else (case,)


def _case(values: tuple[Any, ...], *, left_out: bool) -> ParameterSet:
    return pytest.param(*values, marks=[pytest.mark.long] if left_out else [])
