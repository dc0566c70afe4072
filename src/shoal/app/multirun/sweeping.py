"""One sweep in its directory: what is done is kept, what is missing is planned, trained and accounted for."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from shoal.app.misspelt_hooks import tell_of_misspelt
from shoal.app.multirun.announcing import division, dry_run, other_instructions
from shoal.app.multirun.blocks import Blocks
from shoal.app.multirun.devices import on_devices
from shoal.app.multirun.launch_request import Asked
from shoal.app.multirun.sweep_directory import opened
from shoal.app.multirun.sweep_end import Closing, get_ready_to_draw
from shoal.app.multirun.working_tree import WorkingTree
from shoal.build.checked_job import job as build
from shoal.build.expectations import compare, table
from shoal.config.multirun.job_config import JobConfig
from shoal.config.origins import Origins
from shoal.engines.launching import check_one_process
from shoal.errors import ConfigError, DamagedError, brief
from shoal.review.wording import counted
from shoal.rundir import RunInfo, Status, claim, read_info
from shoal.rundir.atomic import share, unwritable
from shoal.rundir.heartbeat import beating
from shoal.signals import Interrupted
from shoal.streams import say
from shoal.sweeps.block import Assignment, Block
from shoal.sweeps.execution import Execution
from shoal.sweeps.executors import executor_of
from shoal.sweeps.leases import Leases
from shoal.sweeps.ledger import Ledger
from shoal.sweeps.plan import Plan
from shoal.sweeps.processes import Beside
from shoal.sweeps.summary import summarize
from shoal.sweeps.sweep_progress import SweepProgress


class Sweeping:
    """The jobs of one launch, in their directory."""

    def __init__(self, asked: Asked) -> None:
        """Look at what lies in the directory; nothing is written yet.

        Raises:
            UsageError: where another sweep lies there.
        """
        self.asked = asked
        self.folder, self.jobs, self.settings = asked.folder, asked.jobs, asked.settings
        self.ledger = Ledger(self.folder, opened(asked))
        self.leases = Leases(self.folder, self.ledger.info.launches)
        self.plan = Plan()
        self.tree = WorkingTree(self.folder)
        self._drawn: list[Path] = []
        self._beside = Beside()
        """What draws."""

    def run(self) -> dict[str, RunInfo]:
        """Train what is missing; what run.json says of each job that has begun, by the job's hash.

        Raises:
            ShoalError: where a job's configuration is wrong, another process runs the sweep, or it was interrupted.
        """
        todo = self._todo()
        self._check(todo)
        if self.settings.processes is None:
            # Only where the number of processes is left to shoal: who sets one has a reason.
            used = {str(job.values["trainer"].get("accelerator", "auto")) for job in self.jobs.values()}
            self.asked = replace(self.asked, hosts=on_devices(self.asked.hosts, used))
        blocks = Blocks(self.asked, self.ledger, self.plan, self.tree).of(todo)
        if self.settings.dry_run:
            say(dry_run(self.asked, self.ledger, self.plan, blocks, len(todo)))
            return {}
        # From here on something is written; all jobs have been checked.
        self.folder.path.mkdir(parents=True, exist_ok=True)
        with claim(self.folder), beating(self.folder.info), contextlib.ExitStack() as at_the_end:
            at_the_end.callback(self._beside.end)
            # Workers of an earlier launch may live on another machine, and must write no more.
            self.leases.revoke_all()
            self.ledger.write()
            execution = self._execute(blocks, len(todo))
            results = self._results(execution.results)
            self._close(execution, results)
        return {self.ledger.jobs[number].hash: info for number, info in results.items()}

    def _todo(self) -> list[int]:
        """The jobs of this launch that are not done; a run.json that is newer than sweep.json counts."""
        # A run that diverged would do so again, to the bit.
        kept = {Status.COMPLETED, Status.DIVERGED}
        if not self.settings.retry_failed:
            kept.add(Status.FAILED)
        for job in list(self.ledger.jobs.values()):
            if job.status in (None, Status.RUNNING, Status.INTERRUPTED):
                with contextlib.suppress(DamagedError):
                    info = read_info(self.folder.run(job).info)
                    # Whoever wrote `running` is gone; if not, `claim` will refuse this launch.
                    status = info.status if info.finished else Status.INTERRUPTED
                    self.ledger.jobs[job.number] = replace(job, status=status, reason=info.reason)
        # Of this launch alone: values that the command no longer has stay as they are.
        wanted = self.jobs.keys()
        return [n for n, job in self.ledger.jobs.items() if job.hash in wanted and job.status not in kept]

    def _check(self, todo: Sequence[int]) -> None:
        """Build every job once, which checks it, and find its place in the plan."""
        for number in todo:
            job = self._job(number)
            if job.values.get("check") is not None:
                hint = "it trains nothing; do one by one: hydra/launcher=basic"
                raise ConfigError("check", job.choices.get("check"), "cannot be swept", hint=hint)
            try:
                built = build(job.values)
                check_one_process(built.trainer)
                # Built to be checked, and then only its signature is kept: thousands of jobs would not fit.
                self.plan.add(number, built)
                if number == todo[0]:
                    tell_of_misspelt(built)
            except ConfigError as error:
                origins = Origins(job.overrides, job.choices)
                source = error.source or origins.of(error.key)
                raise error.at(source=f"job {number}, {source}") from error

    def _execute(self, blocks: Sequence[Block], n: int) -> Execution:
        for block in blocks:
            for number in block.numbers:
                # Written before they train: an interrupted stack is found by its name.
                self.ledger.place(number, block.state.name if block.state else None)
        executor = self.asked.begun or executor_of(self.asked.hosts)
        done = len(self.jobs) - n
        with SweepProgress(len(self.jobs), done=done) as progress:
            progress.tell(division(self.asked, self.plan, blocks, n))
            if warning := other_instructions(blocks):
                progress.tell(warning)
            execution = Execution(
                executor,
                self.ledger,
                progress,
                begin=self._begin,
                ended=self._ended,
                fail_fast=self.settings.fail_fast,
                leases=self.leases if self.asked.hosts.apart else None,
                meanwhile=partial(get_ready_to_draw, len(self.jobs), self._beside),
            )
            execution.run(blocks)
        return execution

    def _begin(self, block: Block) -> None:
        """Make the run directories of a block, with Hydra's own record, and tell Hydra's callbacks."""
        for assignment in block.assignments:
            job = self.jobs.get(self.ledger.jobs[assignment.number].hash)
            # A passenger, or a member of an interrupted stack that this launch does not ask for.
            if job is None or assignment.finished:
                continue
            if not assignment.resume:
                self._make_directory(assignment, job)
            if self.asked.callbacks:
                self.asked.callbacks.start(job, assignment.number, assignment.path)

    def _make_directory(self, assignment: Assignment, job: JobConfig) -> None:
        try:
            # Not its parents: of a sweep whose directory was deleted meanwhile nothing goes on.
            assignment.path.mkdir(exist_ok=True)
            job.write_hydra(assignment.path, assignment.number)
        except OSError as error:
            raise unwritable(assignment.path, error) from error
        if self.tree.patch:
            share(self.tree.patch, assignment.run.patch)

    def _ended(self, number: int, info: RunInfo) -> None:
        job = self.ledger.jobs[number]
        if self.asked.callbacks and job.hash in self.jobs:
            self.asked.callbacks.end(self.jobs[job.hash], number, self.folder.run(job).path, info)

    def _results(self, results: Mapping[int, RunInfo]) -> dict[int, RunInfo]:
        """The run.json of every job that has begun, in this launch or an earlier one."""
        found = {number: self._compared(number, info) for number, info in results.items()}
        for number, job in self.ledger.jobs.items():
            if number not in found:
                with contextlib.suppress(DamagedError):
                    found[number] = read_info(self.folder.run(job).info)
        return found

    def _compared(self, number: int, info: RunInfo) -> RunInfo:
        """What run.json says once what the experiment expects is compared with what the run has measured."""
        job = self.ledger.jobs[number]
        if info.status is not Status.COMPLETED or job.hash not in self.jobs:
            return info
        return compare(self.folder.run(job), info, self.jobs[job.hash].values)

    def _close(self, execution: Execution, results: Mapping[int, RunInfo]) -> None:
        counts = self.ledger.counts()
        unfinished = counts[None] + counts[Status.INTERRUPTED] + counts[Status.RUNNING]
        bad = counts[Status.FAILED] + counts[Status.DIVERGED]
        # More batches follow: what is said and drawn of the whole comes with the last.
        if self.asked.more and not unfinished:
            self.ledger.write()
            summarize(self.folder, self.ledger.info, results)
            return
        # A figure of half a sweep would look like one of a whole.
        whole = {} if unfinished else self._conclude(results)
        self.ledger.describe(**whole)
        self.ledger.close(Status.INTERRUPTED if unfinished else Status.FAILED if bad else Status.COMPLETED)
        drawn = [f"  {path}" for path in self._drawn]
        say("\n".join([summarize(self.folder, self.ledger.info, results), *drawn, *table(self.ledger.info.expected)]))
        if self.settings.report:
            self._report()
        if execution.received is not None:
            interrupted = Interrupted(execution.received, f"with {counted(unfinished, 'run')} to go")
            interrupted.goes_on(self.folder.path)
            # Last, after everything is written: the exit code says how the process was stopped.
            raise interrupted

    def _report(self) -> None:
        """Write the report of the sweep as it stands."""
        from shoal.review.catalog import find
        from shoal.review.report import write_report

        info = self.ledger.info
        say(f"  {write_report(find([self.folder.path]), self.folder.report, title=f'{info.task} {info.id}')}")

    def _conclude(self, results: Mapping[int, RunInfo]) -> dict[str, Any]:
        """Draw the sweep, and compare what is expected of it as a whole."""
        outcome = Closing(self.folder, self.ledger.info, results)
        known = {number: self.jobs.get(job.hash) for number, job in self.ledger.jobs.items()}
        found = outcome.expected({number: job.values.get("expect") for number, job in known.items() if job})
        try:
            self._drawn = outcome.draw(self.settings.curves or (), self._beside)
        except Exception as error:  # whatever it is: the runs are done, and are more than a picture of them
            print(f"warning: no figure: {brief(error)}", file=sys.stderr)
        return {"expected": found}

    def _job(self, number: int) -> JobConfig:
        return self.jobs[self.ledger.jobs[number].hash]
