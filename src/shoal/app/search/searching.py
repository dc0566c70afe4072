"""A study at work over Optuna's ask and tell: each batch of trials is launched together, and so trained as stacks.

Every step is written to the study's storage before the next one begins, and each can be found half done. A trial that
was asked for and not told is launched again: its runs are kept where they have ended, and go on where they have not.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus
from optuna.samplers import RandomSampler
from optuna.trial import Trial, TrialState

from shoal.app.search.objectives import TrialOutcome, outcome, refuse_unmeasured
from shoal.app.search.trials import AGAIN, REASON, RUNS, STATUS, again, batch_in_words, best, conclusion, table
from shoal.errors import DamagedError
from shoal.rundir import RunDir, RunInfo, Status, StudyInfo, claim, read_info, read_sweep, write_sweep, write_text
from shoal.rundir.info import now
from shoal.rundir.layout import job_name
from shoal.streams import say
from shoal.sweeps.summary import summarize

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

    from shoal.app.search.request import Request

STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "fail": TrialState.FAIL}
IN_PART = "its process ended while it was asked for"


class Search:
    """One session of a study."""

    def __init__(self, request: Request, study: Study, launcher: Any) -> None:
        self.request = request
        self.study = study
        self.launcher = launcher
        self.space = request.space.optuna()
        self.n_trials = request.settings.n_trials

    def run(self, *, retry_failed: bool = False, fail_fast: bool = False) -> list[JobReturn]:
        """Ask, launch and tell until there are as many trials as wanted; what became of the jobs of this session.

        Raises:
            ShoalError: where an objective is never measured, or the sweep was interrupted.
        """
        print(self.request, file=sys.stderr, flush=True)
        if retry_failed:
            self._again()
        returns: list[JobReturn] = []
        while batch := self.batch():
            found = self._launched(batch)
            returns += found
            if not self._told(batch, found) or (fail_fast and self._failed()):
                break
        self._close()
        return [*returns, *([JobReturn(status=JobStatus.FAILED)] if self._failed() else [])]

    def preview(self) -> None:
        """Print what would be searched, and the first batch; the study is a copy, so that asking it leaves nothing."""
        say(str(self.request))
        batch = self.batch()
        if batch:
            self._launched(batch)
        else:
            print("nothing to do: there are as many trials as wanted")

    def batch(self) -> list[FrozenTrial]:
        """The trials to launch next: those that were asked for and never told, and new ones.

        Batches end at multiples of their size, wherever a study was interrupted: so a study that is begun again
        asks for each trial when it knows what it would have known.
        """
        running = [trial for trial in self._trials() if trial.state is TrialState.RUNNING]
        for trial in running:
            if not self._whole(trial):
                self._tell(trial, TrialOutcome("fail", reason=IN_PART), [])
        pending = [trial for trial in running if self._whole(trial)]
        n = len(self._wanted())
        while n < self.n_trials and (n % self.request.settings.batch or not pending):
            self.study.sampler = self.request.samplers(n)
            number = self.study.ask(self.space).number
            pending.append(self._trials()[number])
            n += 1
        return pending

    def _trials(self) -> Sequence[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def _whole(self, trial: FrozenTrial) -> bool:
        """Whether it has a value for every setting: a process may end between one and the next."""
        return trial.state is not TrialState.WAITING and self.space.keys() <= trial.params.keys()

    def _wanted(self) -> list[FrozenTrial]:
        """The trials that count: asked for in whole, and not tried again by a later one."""
        superseded = again(self._trials())
        return [trial for trial in self._trials() if self._whole(trial) and trial.number not in superseded]

    def _failed(self) -> list[FrozenTrial]:
        return [trial for trial in self._wanted() if trial.state is TrialState.FAIL]

    def _again(self) -> None:
        """Ask again for each trial that has failed, with its values; one that diverged would only do so again."""
        for trial in self._failed():
            if trial.user_attrs.get(STATUS) == Status.FAILED:
                self.study.enqueue_trial(trial.params, user_attrs={AGAIN: trial.number})

    def _launched(self, batch: Sequence[FrozenTrial]) -> list[JobReturn]:
        jobs = [job for trial in batch for job in self.request.space.jobs(trial.params)]
        self.launcher.study = self._info()
        self.launcher.more = len(self._wanted()) < self.n_trials
        first = batch[0].number * len(self.request.space.repeats)
        return list(self.launcher.launch(jobs, initial_job_idx=first))

    def _told(self, batch: Sequence[FrozenTrial], returns: Sequence[JobReturn]) -> bool:
        """Tell what became of the trials; whether all of them have ended."""
        n = len(self.request.space.repeats)
        found = [[_ended(each) for each in returns[i * n : (i + 1) * n]] for i in range(len(batch))]
        # Only as long as no trial has its values: what one run measures, all do.
        if not any(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in self._trials()):
            refuse_unmeasured(self.request.objectives, [run for runs in found for run in runs if run])
        ended = [(trial, runs) for trial, runs in zip(batch, found, strict=True) if None not in runs]
        for trial, runs in ended:
            known = [run for run in runs if run is not None]
            names = [job_name(run.job) for run in known if run.job is not None]
            self._tell(trial, outcome(known, self.request.objectives), names)
        self._record()
        print(
            batch_in_words([trial.number for trial, _ in ended], self.study, self._info()), file=sys.stderr, flush=True
        )
        return len(ended) == len(batch)

    def _tell(self, trial: FrozenTrial, found: TrialOutcome, runs: Sequence[str]) -> None:
        self._noted(trial, RUNS, list(runs))
        for key, text in ((REASON, found.reason), (STATUS, found.status)):
            if text:
                self._noted(trial, key, text)
        if found.state == "pruned" and len(found.values) == 1:  # of several objectives Optuna prunes without values
            self._live(trial).report(found.values[0], found.step)
        values = list(found.values) if found.state == "complete" else None
        self.study.tell(trial.number, values, STATES[found.state])

    def _live(self, trial: FrozenTrial) -> Trial:
        self.study.sampler = RandomSampler()  # one that does nothing when a trial is only looked at
        return Trial(self.study, trial._trial_id)

    def _noted(self, trial: FrozenTrial, key: str, value: object) -> None:
        self._live(trial).set_user_attr(key, value)

    def _info(self) -> StudyInfo:
        """What sweep.json says of the study as it stands."""
        return replace(self.request.info, best=best(self.study, self.request.info))

    def _record(self) -> None:
        """Write what the trials have come to."""
        write_text(self.request.folder.trials, table(self.study, self._info()))
        if self.request.folder.info.exists():
            with claim(self.request.folder):
                write_sweep(self.request.folder.info, replace(read_sweep(self.request.folder.info), study=self._info()))

    def _close(self) -> None:
        """Say what the study has shown; bring sweep.json to its end where the last session did not live to do it."""
        folder = self.request.folder
        self._record()
        info = read_sweep(folder.info) if folder.info.exists() else None
        if info and info.status is Status.RUNNING:
            statuses = {job.status for job in info.jobs}
            bad = statuses & {Status.FAILED, Status.DIVERGED}
            info = replace(info, status=Status.FAILED if bad else Status.COMPLETED, ended=now())
            with claim(folder):
                write_sweep(folder.info, info)
            runs = ((job.number, _read(folder.run(job))) for job in info.jobs)
            say(summarize(folder, info, {number: run for number, run in runs if run}))
        say("\n".join([*conclusion(self.study, self._info()), f"  {folder.trials}"]))


def _ended(job: JobReturn) -> RunInfo | None:
    """The run.json of a job that has ended; None while it has not."""
    if job.status is JobStatus.UNKNOWN:
        return None
    hydra = job.hydra_cfg.hydra.runtime.output_dir if job.hydra_cfg else None  # of Hydra's own launchers
    info = _read(RunDir(Path(str(hydra or job.working_dir))))
    if info is None:
        return RunInfo(id="a run", task="", status=Status.FAILED, engine="", seed=0, reason=str(job._return_value))
    return None if info.status in (Status.RUNNING, Status.INTERRUPTED) else info


def _read(run: RunDir) -> RunInfo | None:
    try:
        return read_info(run.info)
    except DamagedError:
        return None
