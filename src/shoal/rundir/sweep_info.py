"""The sweep directory: run directories side by side, and sweep.json, which accounts for every job."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shoal.errors import DamagedError
from shoal.rundir.atomic import write_json
from shoal.rundir.info import SCHEMA, Status, decoded, refuse_later
from shoal.rundir.layout import RunDir


@dataclass(frozen=True)
class JobInfo:
    """One job of a sweep."""

    number: int
    run: str
    """Name of its run directory."""
    hash: str
    """SHA-256 of its resolved configuration: what tells whether a job was done before."""
    differs: dict[str, Any] = field(default_factory=dict)
    """The settings in which it differs from its neighbors."""
    overrides: list[str] = field(default_factory=list)
    status: Status | None = None
    """None until it begins."""
    reason: str | None = None
    block: str | None = None
    """In a stack: the name of the file below `.blocks` that keeps the state of all its runs while they train."""


@dataclass(frozen=True, kw_only=True)
class TrialInfo:
    """One trial of a study that has completed."""

    number: int
    values: dict[str, float]
    """What each objective has come to."""
    settings: dict[str, Any]
    runs: list[str]
    """Names of its run directories."""


@dataclass(frozen=True, kw_only=True)
class StudyInfo:
    """What chose the jobs of a sweep, where that was a search."""

    name: str
    """Of the study, in its storage."""
    sampler: str
    objectives: dict[str, str]
    """What trials are compared by, and whether to `minimize` or `maximize` it."""
    over: dict[str, str]
    """The settings that are searched, and in what."""
    n_trials: int
    """How many are wanted."""
    best: list[TrialInfo] = field(default_factory=list)
    """The best trial, or of several objectives the trials of the Pareto front."""


@dataclass(frozen=True, kw_only=True)
class SweepInfo:
    """The content of sweep.json."""

    id: str
    task: str
    status: Status
    schema: int = SCHEMA
    command: list[str] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    """Words by which its user finds it again."""
    note: str | None = None
    """What its user says of it."""
    varies: list[str] = field(default_factory=list)
    """The settings that differ between jobs."""
    pid: int | None = None
    host: str | None = None
    launches: int = 0
    """How often it was begun or gone on with."""
    beats: float | None = None
    """Seconds after which its process touches this file again, as long as the sweep is running."""
    started: str | None = None
    ended: str | None = None
    seconds: float = 0.0
    jobs: list[JobInfo] = field(default_factory=list)
    expected: list[dict[str, Any]] = field(default_factory=list)
    """What its experiment expects of all runs, beside what was measured."""
    study: StudyInfo | None = None


@dataclass(frozen=True)
class SweepDir:
    """The files of one sweep directory."""

    path: Path

    @property
    def info(self) -> Path:
        """`SweepInfo` as JSON."""
        return self.path / "sweep.json"

    @property
    def summary(self) -> Path:
        """One row a run: what differs, status, metrics."""
        return self.path / "summary.csv"

    @property
    def figure(self) -> Path:
        """Metric against each swept setting; learning curves."""
        return self.path / "figures" / "sweep.png"

    @property
    def report(self) -> Path:
        """The report as one HTML file."""
        return self.path / "report.html"

    @property
    def study(self) -> Path:
        """Optuna's journal of a study, unless it has another storage."""
        return self.path / "study.journal"

    @property
    def trials(self) -> Path:
        """One row a trial of a study: state, values, settings, runs."""
        return self.path / "trials.csv"

    @property
    def lock(self) -> Path:
        """Held by the process that trains jobs of the sweep."""
        return self.path / ".lock"

    @property
    def study_lock(self) -> Path:
        """Held by the process that asks for trials of the study, and tells them."""
        return self.path / ".study.lock"

    @property
    def blocks(self) -> Path:
        """Folder of the states of stacks that are in training."""
        return self.path / ".blocks"

    @property
    def leases(self) -> Path:
        """Folder of a file for each block in training elsewhere: what its process writes counts while that is there."""
        return self.path / ".leases"

    def run(self, job: JobInfo) -> RunDir:
        """The run directory of a job."""
        return RunDir(self.path / job.run)


def write_sweep(path: Path, info: SweepInfo) -> None:
    """Replace sweep.json."""
    write_json(path, info)


def read_sweep(path: Path) -> SweepInfo:
    """What sweep.json says.

    Raises:
        DamagedError: where it is missing, cut short, of a later version or not of this form, or names a folder that is
            not in the sweep's.
    """
    try:
        info = decoded(path, path.read_bytes(), SweepInfo)
    except FileNotFoundError:
        raise DamagedError(f"{path} is missing: not a sweep directory") from None
    except OSError as error:
        raise DamagedError(f"{path} is damaged: {error.strerror}") from error
    refuse_later(path, info.schema)
    for job in info.jobs:
        # These names are joined to paths that are written and removed: one from elsewhere must not lead out.
        for name in (job.run, job.block or "block"):
            if name in ("", ".", "..") or Path(name).name != name or "\0" in name:
                raise DamagedError(
                    f"{path} is damaged: job {job.number} names {name!r}, which is no folder of this sweep"
                )
    return info
