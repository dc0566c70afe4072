"""The part of run.json that tells runs apart in a list: the rest of ten thousand would take as long again to read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from shoal.rundir.info import SCHEMA, Best, Status, decoded, refuse_later


@dataclass(frozen=True, kw_only=True)
class ListedRun:
    """Some fields of `RunInfo`, with the same meaning."""

    id: str
    task: str
    status: Status
    engine: str
    seed: int
    schema: int = SCHEMA
    command: list[str] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    note: str | None = None
    differs: dict[str, Any] = field(default_factory=dict)
    job: int | None = None
    pid: int | None = None
    host: str | None = None
    beats: float | None = None
    started: str | None = None
    seconds: float = 0.0
    final: dict[str, float] = field(default_factory=dict)
    best: Best | None = None
    at_best: dict[str, float] = field(default_factory=dict)
    loss: str = ""
    reason: str | None = None
    artifacts: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether the run has come to an end of any kind."""
        return self.status is not Status.RUNNING


def decode_listed(path: str, content: bytes) -> ListedRun:
    """What run.json says, by its content.

    Raises:
        DamagedError: where it is cut short, not of this form, or of a later version.
    """
    listed = decoded(path, content, ListedRun)
    refuse_later(path, listed.schema)
    return listed
