"""A setting as a word of a command line, taken apart by its text."""

from __future__ import annotations

import pytest

from shoal.override_words import key_and_value, unquoted


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("optimizer.lr=0.1", ("optimizer.lr", "0.1")),
        ("++note='a=b'", ("note", "'a=b'")),
        ("~callbacks.progress", ("callbacks.progress", "")),
        ("hydra/launcher@x=", ("hydra/launcher@x", "")),
    ],
)
def test_a_word_is_a_key_and_what_follows_its_first_equals_sign(word: str, expected: tuple[str, str]) -> None:
    assert key_and_value(word) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [("'a b'", "a b"), ('"a"', "a"), ("'a\"", "'a\""), ("a", "a"), ("'", "'"), ("''", "")]
)
def test_one_pair_of_quotes_around_a_value_is_no_part_of_it(value: str, expected: str) -> None:
    assert unquoted(value) == expected
