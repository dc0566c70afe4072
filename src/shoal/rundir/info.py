"""run.json: what is known of a run without opening anything else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from shoal.errors import DamagedError
from shoal.rundir.atomic import write_json

SCHEMA = 1
"""Version of the run directory's form."""


class Status(StrEnum):
    """How a run stands. Only `running` is not final."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    DIVERGED = "diverged"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Best:
    """The best value of the monitored metric, and when it was reached."""

    metric: str
    mode: str
    value: float
    epoch: int
    step: int


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """The content of run.json. Times are ISO 8601 with their zone; durations are seconds of a monotonic clock."""

    id: str
    task: str
    status: Status
    engine: str
    seed: int
    schema: int = SCHEMA
    command: list[str] = field(default_factory=list)
    """The command line, word by word."""
    overrides: list[str] = field(default_factory=list)
    """What the command line set."""
    choices: dict[str, str] = field(default_factory=dict)
    """The chosen option of each config group."""
    differs: dict[str, Any] = field(default_factory=dict)
    """In a sweep: the settings in which this run differs from its neighbors."""
    sweep: str | None = None
    """In a sweep: its id."""
    job: int | None = None
    """In a sweep: the number of the job."""
    pid: int | None = None
    host: str | None = None
    started: str | None = None
    ended: str | None = None
    seconds: float = 0.0
    """Time spent in this run, all its sessions together."""
    sessions: int = 1
    """How often it was started: 1, and 1 more for each resume."""
    epochs: int = 0
    """Epochs completed."""
    steps: int = 0
    """Optimizer steps taken."""
    parameters: int = 0
    trainable: int = 0
    final: dict[str, float] = field(default_factory=dict)
    """The last value of each metric."""
    best: Best | None = None
    reason: str | None = None
    """Why the run failed, diverged or was interrupted."""
    expected: list[dict[str, Any]] = field(default_factory=list)
    """What its experiment expects, beside what was measured."""
    git: dict[str, Any] | None = None
    """Commit, and whether the working tree had changes."""
    versions: dict[str, str] = field(default_factory=dict)
    hardware: dict[str, Any] = field(default_factory=dict)
    artifacts: dict[str, dict[str, Any]] = field(default_factory=dict)
    """SHA-256 and size of each file, by its path in the run directory."""

    @property
    def finished(self) -> bool:
        """Whether the run has come to an end of any kind."""
        return self.status is not Status.RUNNING


def write_info(path: Path, info: RunInfo) -> None:
    """Replace run.json."""
    write_json(path, asdict(info))


def read_info(path: Path) -> RunInfo:
    """What run.json says.

    Raises:
        DamagedError: where it is missing, cut short or not of this form.
    """
    try:
        return decode_info(path, path.read_bytes())
    except FileNotFoundError:
        raise DamagedError(f"{path} is missing: not a run directory, or a run that never began") from None
    except OSError as error:
        raise DamagedError(f"{path} is damaged: {error.strerror}") from error


def decode_info(path: Path, content: bytes) -> RunInfo:
    """What run.json says, by its content.

    Raises:
        DamagedError: where it is cut short or not of this form.
    """
    try:
        return parse_info(json.loads(content))
    except KeyError as error:
        raise DamagedError(f"{path} is damaged: it has no {error}") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise DamagedError(f"{path} is damaged: {error}") from error


def parse_info(content: Mapping[str, Any]) -> RunInfo:
    """RunInfo from the parsed JSON; keys of a later version are left out.

    Raises:
        TypeError, ValueError, KeyError: where the content has another form.
    """
    if content["schema"] > SCHEMA:
        raise ValueError(f"written by a later version of shoal (schema {content['schema']})")
    values = typed(content, RunInfo)
    values["status"] = Status(values["status"])
    values["final"] = {key: float(value) for key, value in values.get("final", {}).items()}
    if values.get("best"):
        best = values["best"]
        values["best"] = Best(**{**best, "value": float(best["value"])})
    return RunInfo(**values)


_JSON: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "Status": (str,),
    "int": (int,),
    "float": (int, float),
    "list": (list,),
    "dict": (dict,),
    "Best": (dict,),
    "None": (type(None),),
}
"""The JSON form of each type that a field is annotated with."""


def typed(content: Mapping[str, Any], form: type) -> dict[str, Any]:
    """The fields of the dataclass `form` in `content`; those of a later version are left out.

    Raises:
        TypeError: where a field has another type than it declares, so that nobody meets one later.
    """
    known = _checked(form, tuple(content), tuple(map(type, content.values())))
    return dict(content) if len(known) == len(content) else {key: content[key] for key in known}


@lru_cache(maxsize=1000)
def _checked(form: type, keys: tuple[str, ...], types: tuple[type, ...]) -> tuple[str, ...]:
    """The keys that are fields of `form`, once for all files of one make: thousands are read at a time."""
    kinds = _kinds(form)
    for key, kind in zip(keys, types, strict=True):
        if key in kinds and not issubclass(kind, kinds[key]):
            raise TypeError(f"{key} must not be {kind.__name__}")
    return tuple(key for key in keys if key in kinds)


@cache
def _kinds(form: type) -> dict[str, tuple[type, ...]]:
    """The types that each field may have in JSON."""
    kinds: dict[str, tuple[type, ...]] = {}
    for item in fields(form):
        for part in str(item.type).split("|"):
            kinds[item.name] = kinds.get(item.name, ()) + _JSON[part.partition("[")[0].strip()]
    return kinds
