"""run.json: what is known of a run without opening anything else."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from shoal.errors import DamagedError
from shoal.rundir.atomic import write_json

if TYPE_CHECKING:
    from pydantic import TypeAdapter

SCHEMA = 1
"""Version of the run directory's form."""


_WITH_NUMBERS = ("differs", "expected", "final", "at_best", "assessment", "references", "fit")
"""Parts of run.json in which 1 and 1.0 are not the same, though they are equal."""


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
class ListedRun:
    """The part of run.json that tells runs apart in a list: the rest of ten thousand would take as long again to read.

    Times are ISO 8601 with their zone; durations are seconds of a monotonic clock.
    """

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
    tags: list[str] = field(default_factory=list)
    """Words by which its user finds it again."""
    note: str | None = None
    """What its user says of it."""
    differs: dict[str, Any] = field(default_factory=dict)
    """In a sweep: the settings in which this run differs from its neighbors."""
    job: int | None = None
    """In a sweep: the number of the job."""
    pid: int | None = None
    host: str | None = None
    beats: float | None = None
    """Seconds after which its process touches this file again while it runs; in a sweep, sweep.json is touched."""
    started: str | None = None
    seconds: float = 0.0
    """Time spent in this run, all its sessions together."""
    final: dict[str, float] = field(default_factory=dict)
    """The last value of each metric."""
    best: Best | None = None
    at_best: dict[str, float] = field(default_factory=dict)
    """What else was measured when the monitored metric was best."""
    loss: str = ""
    """What was minimized, the same text for the same loss; empty where a LightningModule of the user's computes it."""
    reason: str | None = None
    """Why the run failed, diverged or was interrupted, or was stopped by halving."""
    artifacts: dict[str, dict[str, Any]] = field(default_factory=dict)
    """SHA-256 and size of each file, by its path in the run directory."""

    @property
    def finished(self) -> bool:
        """Whether the run has come to an end of any kind."""
        return self.status is not Status.RUNNING


@dataclass(frozen=True, kw_only=True)
class RunInfo(ListedRun):
    """The content of run.json."""

    choices: dict[str, str] = field(default_factory=dict)
    """The chosen option of each config group."""
    sweep: str | None = None
    """In a sweep: its id."""
    start: str | None = None
    """In a worker elsewhere: the number of the launch, and in that of the start of a block, that trained it last."""
    ended: str | None = None
    fit_seconds: float = 0.0
    """Time spent in training itself, without what comes before and after: the figure, run.json."""
    sessions: int = 1
    """How often it was started: 1, and 1 more for each resume."""
    epochs: int = 0
    """Epochs completed."""
    steps: int = 0
    """Optimizer steps taken."""
    parameters: int = 0
    trainable: int = 0
    unit: str | None = None
    """Of the target, and so of the errors `rmse` and `mae`, where `task.units` says it."""
    exactness: list[str] = field(default_factory=list)
    """Where a stack would have given the run other bits than it has alone: what was done about it."""
    expected: list[dict[str, Any]] = field(default_factory=list)
    """What its experiment expects, beside what was measured."""
    digest: str | None = None
    """SHA-256 of the file that the samples come from, where they come from one."""
    assessment: dict[str, Any] | None = None
    """For a table: metrics of the best state and of baselines; for classes also the confusion matrix."""
    references: dict[str, float] = field(default_factory=dict)
    """Losses on the samples that the best state is judged by: of the `model` itself, of one that always says the `mean`
    (of classes their shares), and of the true function where it is known, which the `noise` alone leaves."""
    fit: dict[str, Any] | None = None
    """Of a formula: its parameters with errors and intervals, and how well it fits."""
    git: dict[str, Any] | None = None
    """Commit, and whether the working tree had changes."""
    versions: dict[str, str] = field(default_factory=dict)
    hardware: dict[str, Any] = field(default_factory=dict)
    numerics: str = "native"
    """Whether it computes by the instructions of its processor, or `portable`, by those that all have."""
    instructions: dict[str, str] = field(default_factory=dict)
    """By which MKL, ATen and oneDNN compute, and on which processor, in its last session."""

    @classmethod
    def new(
        cls,
        id: str,
        config: Mapping[str, Any],
        choices: Mapping[str, str],
        *,
        command: Sequence[str],
        overrides: Sequence[str],
        **place: Any,
    ) -> RunInfo:
        """What is known of a run before it begins; `place` says where in a sweep it stands.

        It is called by what is done in it: by its check, if it is one.
        """
        return cls(
            id=id,
            task=choices.get("check") or choices.get("task", ""),
            status=Status.RUNNING,
            # Until it trains: the record then writes the engine that does.
            engine="lightning",
            seed=int(config["seed"]),
            command=list(command),
            overrides=list(overrides),
            choices=dict(choices),
            tags=tags_of(config),
            note=note_of(config),
            **place,
        )

    def sharing(self, other: RunInfo) -> RunInfo:
        """The same, with the other's own objects for what both have alike: there may be a hundred thousand runs."""
        pairs = ((each.name, getattr(self, each.name), getattr(other, each.name)) for each in fields(self))
        alike = {n: theirs for n, mine, theirs in pairs if mine == theirs and (n not in _WITH_NUMBERS or not mine)}
        metrics = {"final": self.final, "at_best": self.at_best}
        # The same few names of metrics are in every file, a text of its own for each when it is read.
        named = {kind: {sys.intern(name): value for name, value in found.items()} for kind, found in metrics.items()}
        return replace(self, **{**named, **alike})


def tags_of(config: Mapping[str, Any]) -> list[str]:
    """The tags that a configuration gives, each once."""
    given = config.get("tags") or []
    return list(dict.fromkeys(str(tag) for tag in (given if isinstance(given, list) else [given])))


def note_of(config: Mapping[str, Any]) -> str | None:
    """The note that a configuration has."""
    given = config.get("note")
    return None if given in (None, "") else str(given)


def missed(outcomes: Sequence[Mapping[str, Any]]) -> bool:
    """Whether something was not measured as expected, of what run.json or sweep.json says of it."""
    return not all(each["holds"] for each in outcomes)


def now() -> str:
    """The time, as run.json and sweep.json write it: ISO 8601 with its zone, to the millisecond."""
    return datetime.now().astimezone().isoformat(timespec="milliseconds")


def write_info(path: Path, info: RunInfo) -> None:
    """Replace run.json."""
    write_json(path, info)


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


def decode_info(path: Path | str, content: bytes) -> RunInfo:
    """What run.json says, by its content; keys of a later version are left out.

    Raises:
        DamagedError: where it is cut short or not of this form.
    """
    info = decoded(path, content, RunInfo)
    refuse_later(path, info.schema)
    return info


def decode_listed(path: Path | str, content: bytes) -> ListedRun:
    """The part for a list of what run.json says, by its content.

    Raises:
        DamagedError: where it is cut short, not of this form, or of a later version.
    """
    listed = decoded(path, content, ListedRun)
    refuse_later(path, listed.schema)
    return listed


def refuse_later(path: Path | str, schema: int) -> None:
    """Refuse a run.json or a sweep.json of a later version.

    Raises:
        DamagedError: where its schema is one that is not known here.
    """
    if schema > SCHEMA:
        raise DamagedError(f"{path} is of a later version of shoal (schema {schema})")


Info = TypeVar("Info")


def decoded(path: Path | str, content: bytes, form: type[Info]) -> Info:
    """The JSON of a file as the dataclass `form`, each field of the type it declares.

    Raises:
        DamagedError: where it is cut short or not of this form.
    """
    from pydantic import ValidationError

    kind: Any = form
    try:
        info: Info = _reader(kind).validate_json(content)
    except ValidationError as error:
        # Without the input, which may be the whole file, and without a link to pydantic's pages.
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise DamagedError(f"{path} is damaged: {place}{': ' if place else ''}{first['msg']}") from error
    return info


@cache
def _reader(form: type[Info]) -> TypeAdapter[Info]:
    # Reads and checks ten thousand files in 0.2 s, half of what json and the checks by hand take.
    from pydantic import TypeAdapter

    return TypeAdapter(form)
