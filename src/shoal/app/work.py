"""What a resolved configuration asks for, checked and ready to be done in a run directory: a training, or a check."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shoal.app.misspelt_hooks import tell_of_misspelt
from shoal.build.checked_job import job, settings
from shoal.build.constructors import build, target
from shoal.build.expectations import Expectation, compare, expectations
from shoal.checks import Check
from shoal.checks.recording import record
from shoal.engines import launching, lightning
from shoal.engines.job import Job
from shoal.errors import ConfigError, warn
from shoal.record.assisting import assist
from shoal.record.run_training import train
from shoal.record.stack_faults import UnmappedError
from shoal.rundir import RunDir, RunInfo


class Work(ABC):
    """Something to do in a run directory."""

    @abstractmethod
    def do(self, run: RunDir, info: RunInfo) -> RunInfo:
        """Do it and record it; what run.json says in the end."""


@dataclass(frozen=True)
class TrainingWork(Work):
    """A job to train; what its experiment expects is compared with it in the end."""

    job: Job

    def do(self, run: RunDir, info: RunInfo, *, checkpoint: Path | None = None, before: Job | None = None) -> RunInfo:
        try:
            done = train(self.job, run, info, checkpoint=checkpoint, before=before, stacked=_stacked(self.job))
        except UnmappedError as error:
            _tell_alone(str(error))
            # Another job: callbacks and loggers of this one have seen a part of a training.
            done = train(job(self.job.config), run, info, checkpoint=checkpoint, before=before)
        return compare(run, done, self.job.config)

    @property
    def assists(self) -> bool:
        """Whether several processes train the run, and another one than this records it.

        Raises:
            ConfigError: where the others cannot be started.
        """
        trainer = lightning.build_trainer(self.job.trainer)
        launching.check_program(self.job.trainer, trainer)
        return not trainer.is_global_zero

    def assist(self, *, checkpoint: Path | None = None, before: Job | None = None) -> None:
        """Take part in the training of the process that records it."""
        assist(self.job, checkpoint=checkpoint, before=before)


@dataclass(frozen=True)
class CheckingWork(Work):
    """Derivatives to check, or something else that an experiment shows without being a training itself."""

    check: Check
    config: Mapping[str, Any]
    wanted: Sequence[Expectation]

    def do(self, run: RunDir, info: RunInfo) -> RunInfo:
        return record(self.check, self.config, run, info, self.wanted)


def work(config: Mapping[str, Any]) -> Work:
    """What a configuration asks for.

    Raises:
        ConfigError: where something in it is wrong.
    """
    node = config.get("check")
    if node is None:
        built = job(config)
        _ = built.data  # what is wrong with it is told before anything is written
        tell_of_misspelt(built)
        return TrainingWork(built)
    # For its complaints alone: no job is built here that would have them.
    settings(config)
    made = target(node, "check") if isinstance(node, Mapping) else None
    if made is None or not (isinstance(made.call, type) and issubclass(made.call, Check)):
        raise ConfigError("check", node, "is not a check", hint="choose one of its group: check=NAME")
    return CheckingWork(build(node, "check"), config, expectations(config.get("expect")))


def _stacked(job: Job) -> bool:
    """Whether a run is to train as a stack of its own; where it was asked to and cannot, the reason is told."""
    if job.engine != "vectorized":
        return False
    from shoal.record.stack_of_one import unlike_lightning  # late: what only a stack needs takes its time
    from shoal.sweeps.plan import why_alone

    reason = why_alone(job, job.module()) or unlike_lightning(job)
    if reason:
        _tell_alone(reason)
    return not reason


def _tell_alone(reason: str) -> None:
    warn(f"engine=vectorized: trained by the Lightning engine instead: {reason}")
