"""The words of a formula with the column of each, and how a fault in one is shown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, NoReturn

from shoal.errors import ConfigError
from shoal.expressions.functions import CONSTANTS, FUNCTIONS

Kind = Literal["number", "name", "symbol", "end"]

ALLOWED = (
    f"allowed: numbers, + - * / ** ( ), {', '.join(FUNCTIONS)}, {', '.join(CONSTANTS)}, "
    "and variables such as x, t or x1"
)
_WIDTH = 72
"""Characters of a formula that an error shows."""

_TOKEN = re.compile(
    r"(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<symbol>\*\*|[-+*/^(),;=\n])"
)


@dataclass(frozen=True)
class Token:
    """One word, and where in the text it begins."""

    kind: Kind
    text: str
    column: int

    def __str__(self) -> str:
        return "the end" if self.kind == "end" else repr(self.text)


def tokens(text: str) -> list[Token]:
    """The words of `text`, closed by one of kind `end`.

    Raises:
        ConfigError: where a character belongs to no word.
    """
    found: list[Token] = []
    column = 0
    while column < len(text):
        if text[column] in " \t\r":
            column += 1
            continue
        # Numbers first: `1e5` is one, and not 1 beside a name.
        match = _TOKEN.match(text, column)
        if not match:
            refuse(text, column, f"{_printable(text[column])!r} is not allowed in a formula")
        kind: Kind = "number" if match["number"] else "name" if match["name"] else "symbol"
        # Many write powers so; to Python it is the exclusive or.
        found.append(Token(kind, match[0].replace("^", "**"), column))
        column = match.end()
    return [*found, Token("end", "", len(text))]


def refuse(text: str, column: int, problem: str, *, hint: str = ALLOWED) -> NoReturn:
    """Raise an error of three lines: the problem, the formula, and a caret under `column` before the hint."""
    first = text.rfind("\n", 0, column) + 1
    line, at = text[first:].split("\n")[0], column - first
    # Of a long line the part around the fault.
    begin = max(0, at - _WIDTH // 2)
    excerpt = _printable(line[begin : begin + _WIDTH])
    caret = " " * (at - begin) + "^ " + hint
    raise ConfigError("expression", shortened(text), problem, hint=f"{excerpt}\n  {caret}".rstrip())


def shortened(text: str) -> str:
    """`text` on one line of bounded length, with nothing a terminal would act on."""
    line = _printable(" ".join(text.split("\n")))
    return line if len(line) <= _WIDTH else line[: _WIDTH - 3] + "..."


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
