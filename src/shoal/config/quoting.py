"""Formulas on the command line, which Hydra's grammar would take for functions of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

_KEYS = ("task.expression", "model.expression")
_HYDRA = ("'", '"', "${", "choice(", "glob(")
"""Beginnings of a value that is meant for Hydra's grammar as it stands."""


def quoted(words: Iterable[str]) -> list[str]:
    """`task.expression=sin(x)` as `task.expression="sin(x)"`; several formulas with commas between them, each so."""
    return [_quoted(word) for word in words]


def _quoted(word: str) -> str:
    key, _, value = word.partition("=")
    if key.lstrip("+") not in _KEYS or not value or value.startswith(_HYDRA):
        return word
    return f"{key}=" + ",".join(f'"{formula.strip()}"' for formula in _split(value))


def _split(text: str) -> Iterator[str]:
    """The parts of a text between the commas that stand in no parentheses."""
    depth, part = 0, ""
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            yield part
            part = ""
        else:
            part += letter
    yield part
