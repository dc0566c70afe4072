"""Words of the command line that Hydra's grammar takes in quotes only: formulas, and letters that are not English."""

from __future__ import annotations

import re
from collections.abc import Iterable

from shoal.commas import parts
from shoal.override_words import key_of

_KEYS = ("task.expression", "model.expression")
_HYDRA = ("'", '"', "${", "choice(", "glob(")
"""Beginnings of a value that is meant for Hydra's grammar as it stands."""
_FOREIGN = re.compile(r"[^\s,:=()\[\]{}]*[^\x00-\x7f][^,:=()\[\]{}]*")
"""A text with a letter that the grammar does not know, up to what takes values apart."""


def quoted(words: Iterable[str]) -> list[str]:
    """`task.expression=sin(x)` as `task.expression="sin(x)"`, and `task.target=größe` as `task.target="größe"`.

    Several with commas between them, each so.
    """
    return [_quoted(word) for word in words]


def _quoted(word: str) -> str:
    whole, _, value = word.partition("=")
    # Who writes quotes means them; `choice(...)` and `glob(...)` are functions of the grammar.
    if not value or value.startswith(_HYDRA):
        return word
    # Elsewhere parentheses, commas and braces mean what the grammar says.
    if key_of(word) not in _KEYS:
        foreign = not value.isascii() and not any(mark in value for mark in "'\"$\\{")
        return f"{whole}={_FOREIGN.sub(_in_quotes, value)}" if foreign else word
    return f"{whole}=" + ",".join(map(_formula, parts(value)))


def _formula(text: str) -> str:
    """A formula in quotes; of a list of them each."""
    text = text.strip()
    if text.startswith("[") and text.endswith("]"):
        return f"[{','.join(map(_formula, parts(text[1:-1])))}]"
    return text if text.startswith(_HYDRA[:2]) else f'"{text}"'


def _in_quotes(found: re.Match[str]) -> str:
    # A space before a comma is no part of the text.
    text = found[0].rstrip()
    return f'"{text}"{found[0][len(text) :]}'
