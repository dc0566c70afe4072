"""What training is asked for: a run, a sweep, or to go on with either. Decided here for every caller."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from shoal.config.folders import is_missing
from shoal.errors import ExitCode, UsageError, exits_told
from shoal.override_words import key_and_value, unquoted
from shoal.rundir import RunDir, RunInfo, Status, SweepDir
from shoal.startup import torch_library

_RESUME = "resume="


class EndedTraining(ABC):
    """What was trained, now that it has come to its end."""

    @property
    @abstractmethod
    def path(self) -> Path:
        """Its directory."""

    @abstractmethod
    def tell(self) -> int:
        """Say on the terminal what is left to say, and give the exit code."""


@dataclass(frozen=True)
class EndedRun(EndedTraining):
    """A run."""

    run: RunDir
    info: RunInfo

    @property
    def path(self) -> Path:
        return self.run.path

    def tell(self) -> int:
        from shoal.app.run_text import exit_code, run_text

        if self.info.status is not Status.RUNNING:  # of a further process of ddp the first one tells
            print(run_text(self.run, self.info))
        return int(exit_code(self.info))


@dataclass(frozen=True)
class EndedSweep(EndedTraining):
    """A sweep, which has said all there is to say while it went on."""

    sweep: SweepDir
    failed: bool
    """Whether a run failed, diverged or is not as expected."""

    @property
    def path(self) -> Path:
        return self.sweep.path

    def tell(self) -> int:
        return int(ExitCode.FAILED if self.failed else ExitCode.OK)


def train(
    overrides: Sequence[str],
    *,
    multirun: bool = False,
    config_dir: str | None = None,
    config_name: str | None = None,
    command: Sequence[str] = (),
    own_process: bool = False,
    told: Callable[[str], None] = lambda _: None,
) -> EndedTraining:
    """Train what the overrides ask for; `resume=PATH` among them goes on with the run or the sweep in that directory.

    `told` is given what the task found in its data before a single run begins; one in its own process, which ends
    with this, may begin another one beside it.

    Raises:
        ShoalError: where the configuration is wrong (nothing was written), or the training ended badly (it is
            recorded).
    """
    path, others = resumed(overrides)
    if path is not None:
        if multirun or config_dir or config_name:
            option = "-m" if multirun else "--config-dir" if config_dir else "--config-name"
            raise UsageError(
                f"{_RESUME}{path}: {option} has no effect, what has begun keeps its own configuration",
                hint=f"without {option} it goes on",
            )
        return go_on(path, others, own_process=own_process)
    if multirun:
        from shoal.app.multirun.sweep_command import sweep

        return EndedSweep(*sweep(others, config_dir=config_dir, config_name=config_name))

    # Of a configuration that is refused torch is never imported: what is loaded of it delays the answer.
    if own_process and not is_missing(others, config_dir):
        torch_library.load()
    try:
        from shoal.app.start import start

        with exits_told():
            return EndedRun(
                *start(
                    others,
                    config_dir=config_dir,
                    config_name=config_name,
                    command=command,
                    own_process=own_process,
                    told=told,
                )
            )
    finally:
        # A process that ends while a library is being loaded takes apart what is not there yet.
        torch_library.wait()


def go_on(
    path: Path,
    overrides: Sequence[str] = (),
    *,
    trusted: Collection[str] = (),
    which: Literal["last", "best"] = "last",
    own_process: bool = False,
) -> EndedTraining:
    """Go on with the run in `path`, or do what is missing of the sweep there; `own_process` as for `train`.

    Raises:
        ShoalError: where there is neither, or it is finished, in use or damaged, or an override cannot be taken.
    """
    if SweepDir(path).info.exists():
        from shoal.app.multirun.sweep_command import resume as resume_sweep

        return EndedSweep(*resume_sweep(path, overrides))

    from shoal.app.resume import resume

    with exits_told():
        return EndedRun(*resume(path, overrides, trusted=trusted, which=which, own_process=own_process))


def resumed(overrides: Sequence[str]) -> tuple[Path | None, list[str]]:
    """The directory that the last `resume=` names, or None to begin anew; and the other overrides.

    Raises:
        UsageError: where it names nothing.
    """
    # `~resume`, or `resume` without a value, is for Hydra to refuse.
    named = [word for word in overrides if word.lstrip("+").startswith(_RESUME)]
    # Hydra, which takes the quotes off a value, does not see this setting.
    path = unquoted(key_and_value(named[-1])[1]) if named else "null"
    if not path:
        raise UsageError("resume= names no run", hint="for example resume=outputs/parabola/20261122-101530-k3f9x2")
    return (None if path == "null" else Path(path)), [word for word in overrides if word not in named]
