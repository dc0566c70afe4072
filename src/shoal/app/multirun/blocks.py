"""What a sweep has to train, as blocks: each job with its directory, its configuration and what is known of it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from shoal.app.multirun.launch_request import Asked
from shoal.app.multirun.working_tree import WorkingTree
from shoal.errors import DamagedError, UsageError
from shoal.names import RUN_DIRECTORY
from shoal.rundir import JobInfo, RunDir, RunInfo, Status, read_config, read_info
from shoal.rundir.layout import job_name
from shoal.sweeps.block import Assignment, Block
from shoal.sweeps.ledger import Ledger
from shoal.sweeps.plan import Plan


class Blocks:
    """Makes the blocks of one launch."""

    def __init__(self, asked: Asked, ledger: Ledger, plan: Plan, tree: WorkingTree) -> None:
        self.asked = asked
        self.ledger = ledger
        self.plan = plan
        self.tree = tree

    def of(self, todo: Sequence[int]) -> list[Block]:
        """The blocks to train: the stacks that were interrupted, unchanged, and then the others."""
        settings = self.asked.settings
        blocks, placed = self._interrupted(todo), set[int]()
        placed.update(number for block in blocks for number in block.numbers)
        alone = [Block((self._assigned(number),)) for number in self.plan.alone if number not in placed]
        cut = self.plan.blocks(self.asked.n_workers, settings.block, dealt=settings.halving is not None)
        for group, numbers in cut:
            left = [number for number in numbers if number not in placed]
            if left:
                name = f"{job_name(left[0])}x{len(left)}.ckpt"
                blocks.append(self._stack(tuple(map(self._assigned, left)), name, group))
        return [*blocks, *alone]

    def _stack(self, assignments: tuple[Assignment, ...], name: str, group: int | None = None) -> Block:
        state = self.asked.folder.blocks / name
        # By the sweep's id and the launch as well: a process of Ray's may train for several.
        named = None if group is None else f"{self.ledger.info.id}, launch {self.ledger.info.launches}, group {group}"
        exact, halving = self.asked.settings.exact, self.asked.settings.halving
        return Block(assignments, stacked=True, state=state, halving=halving, exact=exact, group=named)

    def _interrupted(self, todo: Sequence[int]) -> list[Block]:
        """The stacks that left a state behind, with all their members: the state is that of all of them."""
        blocks = []
        for name in dict.fromkeys(self.ledger.jobs[number].block for number in todo):
            if name and (self.asked.folder.blocks / name).exists():
                # Also those that have ended: the tensors of the state have a place for each.
                members = [number for number, job in self.ledger.jobs.items() if job.block == name]
                assignments = tuple(self._assigned(number, passenger=number not in todo) for number in members)
                blocks.append(self._stack(assignments, name))
        return blocks

    def _assigned(self, number: int, *, passenger: bool = False) -> Assignment:
        """The assignment of a job: new, or going on. A `passenger` has ended, and only keeps its place in the stack."""
        job = self.ledger.jobs[number]
        run, asked = self.asked.folder.run(job), self.asked.jobs.get(job.hash)
        config = within(asked.values, run.path) if asked else read_config(run.config)
        # Without a run.json that can be read it has not begun: it is new, below.
        with contextlib.suppress(DamagedError):
            info = read_info(run.info)
            if passenger:
                return Assignment(number, run.path, config, info, finished=True)
            _refuse_changed(run, info, job)
            info = replace(info, sessions=info.sessions + 1, status=Status.RUNNING)
            return Assignment(number, run.path, config, info, resume=True)
        sweep = self.ledger.info
        info = RunInfo.new(
            f"{sweep.id}-{job.run}",
            config,
            asked.choices if asked else {"task": sweep.task},
            command=self.asked.command,
            overrides=job.overrides,
            differs=job.differs,
            sweep=sweep.id,
            job=number,
            git=self.tree.git,
        )
        return Assignment(number, run.path, config, info)


def within(config: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    """A job's configuration, the path of its run's directory put in wherever the configuration refers to that."""

    def placed(value: Any) -> Any:
        # Replaced within a text: it may be the beginning of a longer path.
        if isinstance(value, str):
            return value.replace(RUN_DIRECTORY, str(path.absolute()))
        if isinstance(value, Mapping):
            return {key: placed(item) for key, item in value.items()}
        return [placed(item) for item in value] if isinstance(value, list) else value

    # Most jobs do not ask for it: they keep the nodes that they have in common.
    return dict(placed(config)) if RUN_DIRECTORY in repr(config) else config


def _refuse_changed(run: RunDir, info: RunInfo, job: JobInfo) -> None:
    """Refuse to go on with a run that somebody has since resumed by itself, under other settings.

    Raises:
        UsageError: how it is finished.
    """
    # `resume` adds its overrides behind those that the run had.
    since = info.overrides[len(job.overrides) :]
    if since:
        raise UsageError(
            f"{run.path} has gone on by itself with {' '.join(since)}, which is no part of the sweep",
            hint=f"finish it by itself, and then the sweep: shoal resume {run.path}",
        )
