"""How large the dots of a figure are, and which curves have them."""

from __future__ import annotations


def area(n: int) -> float:
    """Of a dot among `n`, in square points: it is seen where there are few, and leaves room where there are many."""
    return min(40.0, max(5.0, 1500.0 / n))


def dot(n: int) -> str | None:
    """The mark of each of the `n` points of a curve that has few: a line through one is not seen."""
    return "o" if n < 15 else None
