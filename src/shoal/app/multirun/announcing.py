"""What a sweep says before it trains: how its runs are divided, and what a dry run shows."""

from __future__ import annotations

from collections.abc import Sequence

from shoal.app.multirun.launch_request import Asked
from shoal.errors import shown
from shoal.record.computing import others
from shoal.review.wording import counted
from shoal.rundir.layout import job_name
from shoal.sweeps.block import Assignment, Block
from shoal.sweeps.ledger import Ledger
from shoal.sweeps.plan import Plan
from shoal.sweeps.summary import spans


def division(asked: Asked, plan: Plan, blocks: Sequence[Block], n: int) -> str:
    """How the `n` runs that are left are divided, and why some of them train alone."""
    done = len(asked.jobs) - n
    stacks = [block for block in blocks if block.stacked]
    alone = len(blocks) - len(stacks)
    kept = f", {done} done before" if done else ""
    runs = sum(len(block.assignments) for block in stacks)
    parts = [f"{runs} in {counted(len(stacks), 'stack')}"] if stacks else []
    parts += [f"{alone} alone"] if alone else []
    lines = [f"sweep {asked.folder.path}: {counted(n, 'run')}{kept}: {', '.join(parts) or 'nothing to do'}"]
    reasons: dict[str, list[int]] = {}
    # By reason: hundreds of runs mostly share one or two.
    for number, reason in plan.alone.items():
        reasons.setdefault(reason, []).append(number)
    lines += [f"  alone: {spans(numbers)}: {reason}" for reason, numbers in reasons.items()]
    return "\n".join(lines)


def dry_run(asked: Asked, ledger: Ledger, plan: Plan, blocks: Sequence[Block], n: int) -> str:
    """The jobs, how they are divided, why they are not all of one group, and an estimate of the time."""
    from shoal.sweeps.estimate import estimated

    rows = [
        f"{job_name(number)}  " + " ".join(f"{key}={shown(value)}" for key, value in job.differs.items())
        for number, job in ledger.jobs.items()
        if job.hash in asked.jobs
    ]
    lines = [*rows, division(asked, plan, blocks, n)]
    lines += [f"  stack: {spans(block.numbers)}" for block in blocks if block.stacked]
    # From the second on: each says in what it differs from the first.
    lines += [f"  group {i}: {plan.why_apart(i)}" for i in range(1, len(plan.groups))]
    found = estimated(blocks, asked.n_workers)
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
