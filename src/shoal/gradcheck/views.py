"""Which operations give another view of their operand."""

from __future__ import annotations

ALIASES = frozenset({"_unsafe_view", "lift", "lift_fresh"})
"""Operations whose result lies in the memory of their operand, though torch does not count them as views."""
