"""A list as somebody writes it: parts between commas."""

from __future__ import annotations


def parts(text: str) -> list[str]:
    """The parts of a text between the commas that stand in no parentheses or brackets; `f(a, b), c` has two."""
    found, depth = [""], 0
    for letter in text:
        depth += (letter in "([") - (letter in ")]")
        if letter == "," and not depth:
            found.append("")
        else:
            found[-1] += letter
    return found
