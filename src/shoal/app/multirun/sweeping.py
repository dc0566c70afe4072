"""One sweep in its directory: what is done is kept, what is missing is planned, trained and accounted for."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from shoal.app.multirun.closing import Closing
from shoal.app.multirun.job_callbacks import JobCallbacks
from shoal.build.expectations import compare, table
from shoal.build.job import job as build
from shoal.config.multirun.job_config import JobConfig, differing, differs, flat
from shoal.config.multirun.settings import Settings
from shoal.config.origins import Origins
from shoal.errors import ConfigError, DamagedError, ExitCode, ShoalError, UsageError, shown
from shoal.names import IMMATERIAL
from shoal.record import environment
from shoal.record.computing import others
from shoal.review.wording import counted
from shoal.rundir import (
    JobInfo,
    RunInfo,
    Status,
    StudyInfo,
    SweepDir,
    SweepInfo,
    claim,
    read_info,
    read_sweep,
    write_text,
)
from shoal.rundir.atomic import share, unwritable
from shoal.rundir.config import read_config
from shoal.rundir.info import now
from shoal.rundir.layout import job_name
from shoal.sweeps.block import Assignment, Block
from shoal.sweeps.execution import Execution
from shoal.sweeps.executor import Executor, InProcess, Workers
from shoal.sweeps.ledger import Ledger
from shoal.sweeps.plan import Plan
from shoal.sweeps.progress import SweepProgress
from shoal.sweeps.summary import spans, summarize

Result = TypeVar("Result")


class Sweeping:
    """The jobs of one launch, in their directory."""

    def __init__(
        self,
        folder: SweepDir,
        jobs: Sequence[JobConfig],
        settings: Settings,
        *,
        command: Sequence[str],
        first: int,
        study: StudyInfo | None = None,
        more: bool = False,
        callbacks: JobCallbacks | None = None,
    ) -> None:
        """`study` is what searches, where the jobs are trials; there will be `more` of them."""
        self.folder = folder
        self.jobs = {job.hash: job for job in jobs}
        self.settings = settings
        self.command = list(command)
        self.first = first
        self.study = study
        self.more = more
        self.callbacks = callbacks
        self.varies = list(dict.fromkeys([*(study.over if study else ()), *differing(list(self.jobs.values()))]))
        self.before = read_sweep(folder.info) if folder.info.exists() else None
        if self.before and (study or not first):
            self._refuse_another(self.before)
        self.ledger = Ledger(folder, self._opened())
        self.plan = Plan()
        self._tree = _begun(environment.working_tree)
        self._drawn: list[Path] = []

    def run(self) -> dict[str, RunInfo]:
        """Train what is missing; what run.json says of each job that has begun, by the job's hash.

        Raises:
            ShoalError: where a job's configuration is wrong, another process runs the sweep, or it was interrupted.
        """
        todo = self._todo()
        self._check(todo)
        blocks = self._blocks(todo)
        if self.settings.dry_run:
            print(self._shown(blocks, len(todo)))
            return {}
        self.folder.path.mkdir(parents=True, exist_ok=True)
        with claim(self.folder):
            self.ledger.write()
            execution = self._execute(blocks, len(todo))
            results = self._results(execution.results)
            self._close(execution, results)
        return {self.ledger.jobs[number].hash: info for number, info in results.items()}

    def _opened(self) -> SweepInfo:
        """sweep.json as this launch begins: the jobs there are, and those that are new."""
        known = {job.hash: job for job in self.before.jobs} if self.before else {}
        number = max((job.number for job in known.values()), default=-1) + 1
        varies = list(dict.fromkeys([*(self.before.varies if self.before else []), *self.varies]))
        for described in self.jobs.values():
            own = differs(described, varies)
            if described.hash in known:
                known[described.hash] = replace(known[described.hash], differs=own)
            else:
                overrides = list(described.overrides)
                known[described.hash] = JobInfo(number, job_name(number), described.hash, own, overrides)
                number += 1
        task = next(iter(self.jobs.values())).choices.get("task", "")
        return SweepInfo(
            id=self.folder.path.name,
            task=task,
            status=Status.RUNNING,
            command=self.command,
            overrides=[word for word in self.command[1:] if "=" in word and not word.startswith("-")],
            varies=varies,
            pid=os.getpid(),
            host=socket.gethostname(),
            started=(self.before.started if self.before else None) or now(),
            seconds=self.before.seconds if self.before else 0.0,
            jobs=list(known.values()),
            study=self.study,
        )

    def _todo(self) -> list[int]:
        """The jobs of this launch that are not done; a run.json that is newer than sweep.json counts."""
        kept = {Status.COMPLETED, Status.DIVERGED}
        if not self.settings.retry_failed:
            kept.add(Status.FAILED)
        for job in list(self.ledger.jobs.values()):
            if job.status in (None, Status.RUNNING, Status.INTERRUPTED):
                with contextlib.suppress(DamagedError):
                    info = read_info(self.folder.run(job).info)
                    status = info.status if info.finished else Status.INTERRUPTED
                    self.ledger.jobs[job.number] = replace(job, status=status, reason=info.reason)
        wanted = self.jobs.keys()
        return [n for n, job in self.ledger.jobs.items() if job.hash in wanted and job.status not in kept]

    def _check(self, todo: Sequence[int]) -> None:
        """Build every job once, which checks it, and find its place in the plan."""
        for number in todo:
            described = self._described(number)
            if described.values.get("check") is not None:
                hint = "it trains nothing; do one by one: hydra/launcher=basic"
                raise ConfigError("check", described.choices.get("check"), "cannot be swept", hint=hint)
            try:
                self.plan.add(number, build(described.values))
            except ConfigError as error:
                origins = Origins(described.overrides, described.choices)
                source = error.source or origins.of(error.key)
                raise error.at(source=f"job {number}, {source}") from error

    def _blocks(self, todo: Sequence[int]) -> list[Block]:
        """What to train: first the stacks that were interrupted, as they were, then the others."""
        blocks, placed = self._interrupted(todo), set[int]()
        placed.update(number for block in blocks for number in block.numbers)
        alone = [Block((self._assigned(number),)) for number in self.plan.alone if number not in placed]
        cut = self.plan.blocks(
            max(self.settings.workers, 1), self.settings.block, dealt=self.settings.halving is not None
        )
        for group, numbers in cut:
            left = [number for number in numbers if number not in placed]
            if left:
                name = f"{job_name(left[0])}x{len(left)}.ckpt"
                assignments = tuple(map(self._assigned, left))
                blocks.append(self._stack(assignments, name, group))
        return [*blocks, *alone]

    def _stack(self, assignments: tuple[Assignment, ...], name: str, group: int | None = None) -> Block:
        state = self.folder.blocks / name
        exact, halving = self.settings.exact, self.settings.halving
        return Block(assignments, stacked=True, state=state, halving=halving, exact=exact, group=group)

    def _interrupted(self, todo: Sequence[int]) -> list[Block]:
        names = dict.fromkeys(self.ledger.jobs[number].block for number in todo)
        blocks = []
        for name in names:
            if name and (self.folder.blocks / name).exists():
                members = [number for number, job in self.ledger.jobs.items() if job.block == name]
                assignments = tuple(self._assigned(number, passenger=number not in todo) for number in members)
                blocks.append(self._stack(assignments, name))
        return blocks

    def _assigned(self, number: int, *, passenger: bool = False) -> Assignment:
        job = self.ledger.jobs[number]
        run = self.folder.run(job)
        described = self.jobs.get(job.hash)
        config = described.values if described else read_config(run.config)
        with contextlib.suppress(DamagedError):
            info = read_info(run.info)
            if passenger:
                return Assignment(number, run.path, config, info, finished=True)
            info = replace(info, sessions=info.sessions + 1, status=Status.RUNNING)
            return Assignment(number, run.path, config, info, resume=True)
        git, _ = self._tree.result()
        info = RunInfo(
            id=f"{self.folder.path.name}-{job.run}",
            task=self.ledger.info.task,
            status=Status.RUNNING,
            engine="lightning",
            seed=int(config["seed"]),
            command=self.command,
            overrides=job.overrides,
            choices=dict(described.choices) if described else {},
            differs=job.differs,
            sweep=self.folder.path.name,
            job=number,
            git=git,
        )
        return Assignment(number, run.path, config, info)

    def _execute(self, blocks: Sequence[Block], n: int) -> Execution:
        for block in blocks:
            for number in block.numbers:
                self.ledger.place(number, block.state.name if block.state else None)
        executor: Executor = Workers(self.settings.workers) if self.settings.workers else InProcess()
        done = len(self.jobs) - n
        with SweepProgress(len(self.jobs), done=done) as progress:
            progress.tell(self._announced(blocks, n, done))
            self._tell_of_others(blocks, progress)
            execution = Execution(
                executor, self.ledger, progress, begin=self._begin, ended=self._ended, fail_fast=self.settings.fail_fast
            )
            execution.run(blocks)
        return execution

    def _tell_of_others(self, blocks: Sequence[Block], progress: SweepProgress) -> None:
        """Say once where runs go on by other instructions than they began with; each has it in its log."""
        begun = [each for block in blocks for each in block.assignments if each.resume and _has_begun(block, each)]
        told = [(each.number, text) for each in begun if (text := others(each.info))]
        if told:
            first, text = told[0]
            more = f", and {len(told) - 1} more" if len(told) > 1 else ""
            progress.tell(f"warning: job {first}{more}: {text}")

    def _begin(self, block: Block) -> None:
        """Make the run directories of a block, with Hydra's own record."""
        patch = self._patch
        for assignment in block.assignments:
            described = self.jobs.get(self.ledger.jobs[assignment.number].hash)
            if described and not assignment.resume and not assignment.finished:
                try:
                    assignment.path.mkdir(
                        exist_ok=True
                    )  # no more than that: of a sweep that was deleted nothing goes on
                    described.write_hydra(assignment.path, assignment.number)
                except OSError as error:
                    raise unwritable(assignment.path, error) from error
                if patch:
                    share(patch, assignment.run.patch)
            if described and self.callbacks and not assignment.finished:
                self.callbacks.start(described, assignment.number, assignment.path)

    def _ended(self, number: int, info: RunInfo) -> None:
        job = self.ledger.jobs[number]
        if self.callbacks and job.hash in self.jobs:
            self.callbacks.end(self.jobs[job.hash], number, self.folder.run(job).path, info)

    @cached_property
    def _patch(self) -> Path | None:
        """The changes of the working tree: written once, and linked into every run directory."""
        _, text = self._tree.result()
        path = self.folder.path / "patch.diff"
        if text:
            write_text(path, text)
        return path if text else None

    def _results(self, results: Mapping[int, RunInfo]) -> dict[int, RunInfo]:
        """What run.json says of every job that has begun: of this launch, and of those before it."""
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
        if self.more and not unfinished:
            self.ledger.write()
            summarize(self.folder, self.ledger.info, results)
            return
        whole = {} if unfinished else self._conclude(results)
        self.ledger.describe(**whole)
        self.ledger.close(Status.INTERRUPTED if unfinished else Status.FAILED if bad else Status.COMPLETED)
        drawn = [f"  {path}" for path in self._drawn]
        print("\n".join([summarize(self.folder, self.ledger.info, results), *drawn, *table(self.ledger.info.expected)]))
        if self.settings.report:
            self._report()
        if execution.received is not None:
            raise _Interrupted(execution.received, self.folder.path, unfinished)

    def _report(self) -> None:
        """Write the report of the sweep as it stands."""
        from shoal.review.catalog import find
        from shoal.review.report import write_report

        info = self.ledger.info
        print(f"  {write_report(find([self.folder.path]), self.folder.report, title=f'{info.task} {info.id}')}")

    def _conclude(self, results: Mapping[int, RunInfo]) -> dict[str, Any]:
        """Draw the sweep, and compare what is expected of it as a whole."""
        outcome = Closing(self.folder, self.ledger.info, results)
        found = outcome.expected(next(iter(self.jobs.values())).values.get("expect"))
        try:
            self._drawn = outcome.draw(self.settings.curves or ())
        except Exception as error:  # whatever it is: the runs are done, and are more than a picture of them
            print(f"warning: no figure: {type(error).__name__}: {error}", file=sys.stderr)
        return {"expected": found}

    def _described(self, number: int) -> JobConfig:
        return self.jobs[self.ledger.jobs[number].hash]

    def _announced(self, blocks: Sequence[Block], n: int, done: int) -> str:
        stacks = [block for block in blocks if block.stacked]
        alone = len(blocks) - len(stacks)
        kept = f", {done} done before" if done else ""
        runs = sum(len(block.assignments) for block in stacks)
        parts = [f"{runs} in {counted(len(stacks), 'stack')}"] if stacks else []
        parts += [f"{alone} alone"] if alone else []
        lines = [f"sweep {self.folder.path}: {counted(n, 'run')}{kept}: {', '.join(parts) or 'nothing to do'}"]
        reasons: dict[str, list[int]] = {}
        for number, reason in self.plan.alone.items():
            reasons.setdefault(reason, []).append(number)
        lines += [f"  alone: {spans(numbers)}: {reason}" for reason, numbers in reasons.items()]
        return "\n".join(lines)

    def _shown(self, blocks: Sequence[Block], n: int) -> str:
        """What a dry run prints."""
        rows = [
            f"{job_name(number)}  " + " ".join(f"{key}={shown(value)}" for key, value in job.differs.items())
            for number, job in self.ledger.jobs.items()
            if job.hash in self.jobs
        ]
        lines = [*rows, self._announced(blocks, n, len(self.jobs) - n)]
        for block in blocks:
            if block.stacked:
                lines.append(f"  stack: {spans(block.numbers)}")
        lines += [f"  group {i}: {self.plan.why_apart(i)}" for i in range(1, len(self.plan.groups))]
        from shoal.sweeps.estimate import told

        return "\n".join([*lines, told(blocks, max(self.settings.workers, 1))])

    def _refuse_another(self, before: SweepInfo) -> None:
        """Refuse jobs that differ from those that lie there in something that neither sweep varies.

        Raises:
            UsageError: the differences.
        """
        if any(job.hash in self.jobs for job in before.jobs):
            return
        begun = next((job for job in before.jobs if self.folder.run(job).config.exists()), None)
        if begun is None:
            return
        there = flat(read_config(self.folder.run(begun).config))
        here = [flat(job.values) for job in self.jobs.values()]
        keys = [
            key
            for key in here[0].keys() | there.keys()
            if key.split(".")[0] not in IMMATERIAL
            and all(each.get(key) == here[0].get(key) for each in here)
            and here[0].get(key) != there.get(key)
            and not any(key == name or key.startswith(f"{name}.") for name in before.varies)
        ]
        if keys:
            changes = "; ".join(
                f"{key}: {shown(there.get(key))} -> {shown(here[0].get(key))}" for key in sorted(keys)[:4]
            )
            raise UsageError(
                f"{self.folder.path} holds another sweep: {changes}",
                hint="choose another hydra.sweep.dir; to add values, keep the rest of the command as it was",
            )


def _begun(work: Callable[[], Result]) -> Future[Result]:
    """Begin work that waits for another program, beside what this thread does."""
    pool = ThreadPoolExecutor(max_workers=1)
    found = pool.submit(work)
    pool.shutdown(wait=False)
    return found


def _has_begun(block: Block, assignment: Assignment) -> bool:
    """Whether there is a state that the run goes on from."""
    return assignment.run.last.exists() or (block.state is not None and block.state.exists())


class _Interrupted(ShoalError):
    def __init__(self, number: int, path: Path, left: int) -> None:
        import signal

        self.exit_code = ExitCode.INTERRUPTED if number == signal.SIGINT else ExitCode.TERMINATED
        super().__init__(
            f"interrupted by {signal.Signals(number).name} with {counted(left, 'run')} to go",
            hint=f"go on: shoal resume {path}",
        )
