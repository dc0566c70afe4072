"""What a sweep says before it trains: how its runs are divided, and what a dry run shows."""

from __future__ import annotations

from collections.abc import Sequence

from shoal.app.multirun.launch_request import Asked
from shoal.errors import shown
from shoal.record.computing import others
from shoal.review.wording import counted
from shoal.rundir.layout import job_name
from shoal.startup import is_own_process, seconds_since_begun
from shoal.sweeps.block import Assignment, Block
from shoal.sweeps.costs import START_SECONDS
from shoal.sweeps.ledger import Ledger
from shoal.sweeps.plan import Plan
from shoal.sweeps.summary import spans

MOST_APART = 3
"""Reasons for several stacks that are told where a sweep begins."""


def division(asked: Asked, plan: Plan, blocks: Sequence[Block], n: int, *, most: int = MOST_APART) -> str:
    """How the `n` runs that are left are divided, why not all share a stack, and why some of them train alone.

    Of more than `most` reasons for several stacks the others are counted.
    """
    done = len(asked.jobs) - n
    stacks = [block for block in blocks if block.stacked]
    alone = len(blocks) - len(stacks)
    kept = f", {done} done before" if done else ""
    runs = sum(len(block.assignments) for block in stacks)
    parts = [f"{runs} in {counted(len(stacks), 'stack')}"] if stacks else []
    parts += [f"{alone} alone"] if alone else []
    lines = [f"sweep {asked.folder.path}: {counted(n, 'run')}{kept}: {', '.join(parts) or 'nothing to do'}"]
    lines += _groups(plan, most)
    reasons: dict[str, list[int]] = {}
    # By reason: hundreds of runs mostly share one or two.
    for number, reason in plan.alone.items():
        reasons.setdefault(reason, []).append(number)
    lines += [f"  alone: {spans(numbers)}: {reason}" for reason, numbers in reasons.items()]
    return "\n".join(lines)


def _groups(plan: Plan, most: int) -> list[str]:
    """In what the groups differ from the first."""
    reasons: dict[str, list[int]] = {}
    for i in range(1, len(plan.groups)):
        reasons.setdefault(plan.why_apart(i) or "", []).extend(plan.groups[i].numbers)
    told = [f"  apart: {spans(numbers)}: {reason}" for reason, numbers in reasons.items()]
    left = sum(len(numbers) for numbers in [*reasons.values()][most:])
    return [*told[:most], *([f"  apart: {left} more, of which sweep.dry_run=true says why"] if left else [])]


def dry_run(asked: Asked, ledger: Ledger, plan: Plan, blocks: Sequence[Block], n: int) -> str:
    """The jobs, how they are divided, why they are not all of one group, and an estimate of the time."""
    from shoal.sweeps.estimate import estimated

    # Up to here the sweep would do the same: it imports, composes and checks.
    begins = seconds_since_begun() if is_own_process() else START_SECONDS
    rows = [
        f"{job_name(number)}  " + " ".join(f"{key}={shown(value)}" for key, value in job.differs.items())
        for number, job in ledger.jobs.items()
        if job.hash in asked.jobs
    ]
    lines = [*rows, division(asked, plan, blocks, n, most=len(plan.groups))]
    lines += [f"  stack: {spans(block.numbers)}" for block in blocks if block.stacked]
    found = estimated(blocks, asked.n_workers, begins)
    lines += [f"  alone: {spans(sorted(numbers))}: {reason}" for reason, numbers in found.apart.items()]
    return "\n".join([*lines, found.in_words(asked.n_workers)])


def other_instructions(blocks: Sequence[Block]) -> str | None:
    """A warning, where runs go on by other instructions than they began with; each has it in its log."""
    begun = [each for block in blocks for each in block.assignments if each.resume and _has_begun(block, each)]
    found = [(each.number, text) for each in begun if (text := others(each.info))]
    if not found:
        return None
    first, text = found[0]
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    return f"warning: job {first}{more}: {text}"


def _has_begun(block: Block, assignment: Assignment) -> bool:
    """Whether there is a state that the run goes on from."""
    return assignment.run.last.exists() or (block.state is not None and block.state.exists())
