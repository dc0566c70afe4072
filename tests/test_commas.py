"""A list as somebody writes it has its parts between the commas that nothing encloses."""

from __future__ import annotations

import pytest

from shoal.commas import parts


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", [""]),
        ("a", ["a"]),
        ("a,b, c", ["a", "b", " c"]),
        ("f(a,b),[c,(d,e)],g", ["f(a,b)", "[c,(d,e)]", "g"]),
        ("a,", ["a", ""]),
    ],
)
def test_commas_within_parentheses_and_brackets_divide_nothing(text: str, found: list[str]) -> None:
    assert parts(text) == found
