"""A setting as a word of a command line, `+optimizer.lr=0.1`: its key and its value, by its text alone.

Hydra's parser says what a value is; this is asked before there is a configuration, of words that cannot be parsed, and
where Hydra is not imported.
"""

from __future__ import annotations

import re


def key_and_value(word: str) -> tuple[str, str]:
    """What a word sets, without the `+`, `++` or `~` before it, and to what; an empty value where it has none."""
    key, _, value = word.lstrip("+~").partition("=")
    return key, value


def key_of(word: str) -> str:
    """The setting or the choice that a word is about."""
    return key_and_value(word)[0]


def unquoted(value: str) -> str:
    """A value as Hydra reads it: without a pair of quotes around it."""
    found = re.fullmatch(r"""(['"])(.*)\1""", value)
    return found[2] if found else value
