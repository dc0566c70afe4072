"""A formula as a program for a stack machine: what the parser writes, and what tensors, SymPy and limits run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Numeral:
    """Puts a number on the stack."""

    value: float


@dataclass(frozen=True)
class Name:
    """Puts the value of a variable, a constant or an earlier formula on the stack."""

    name: str


@dataclass(frozen=True)
class Apply:
    """Replaces the top of the stack by a function of it."""

    function: str
    arguments: int


Step = Numeral | Name | Apply


@dataclass(frozen=True)
class Statement:
    """A formula in postfix order, and the name that later ones know it by."""

    name: str | None
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Parsed:
    """What a text says."""

    statements: tuple[Statement, ...]
    variables: tuple[str, ...]
    """Names of its arguments: those declared, or else those found, x2 before x10."""
    uses: frozenset[str]
    """The variables that occur in it."""
