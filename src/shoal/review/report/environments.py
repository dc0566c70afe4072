"""In which environments the runs of a report were made."""

from __future__ import annotations

from collections.abc import Sequence

from shoal.errors import shown
from shoal.review.entries import RunEntry


def environments(entries: Sequence[RunEntry]) -> list[tuple[str, str]]:
    """In which surroundings the runs were made; where they differ, how many runs had which."""
    columns: dict[str, list[str]] = {}
    infos = [run.info for run in entries if run.info]
    for info in infos:
        git = info.git or {}
        commit = str(git.get("commit") or "none")
        facts = {
            "commit": f"{commit}{' with uncommitted changes' if git.get('dirty') else ''}",
            **info.versions,
            **{name: shown(value) for name, value in info.hardware.items() if value not in (None, [])},
            **{f"instructions of {name}": value for name, value in info.instructions.items() if name != "processor"},
            "engine": info.engine,
        }
        for name, value in facts.items():
            columns.setdefault(name, []).append(str(value))
    return [(name, _tallied(values, len(infos))) for name, values in columns.items()]


def _tallied(values: Sequence[str], n: int) -> str:
    counts = {value: values.count(value) for value in dict.fromkeys(values)}
    # Else it is told of how many: runs of earlier versions may lack it.
    if len(counts) == 1 and len(values) == n:
        return values[0]
    return ", ".join(f"{value} ({count} of {n} runs)" for value, count in counts.items())
