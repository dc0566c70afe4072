"""The state of one run of a stack: put by while the others go on, and written as Lightning writes a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytorch_lightning
import torch

from shoal.engines.left_gradients import KEY
from shoal.engines.position import Position
from shoal.engines.stack.rates import Rate
from shoal.engines.stack.run_optimizer import RunOptimizer
from shoal.engines.stack.stack import Stack, state_dict_of
from shoal.engines.vectorized.member import Member
from shoal.tasks import Supervised

_LIGHTNING = str(pytorch_lightning.__version__)  # type: ignore[attr-defined]


@dataclass
class Moment:
    """What a run's state at the end of an epoch has beside its row of the stack."""

    epoch: int
    early_stopping: dict[str, Any] | None
    rate: dict[str, Any] | None
    batch: int = 0
    """Batches done of an epoch that is under way."""
    sums: dict[str, list[Any]] = field(default_factory=dict)
    """Sum and number of samples of what its steps have logged."""
    callbacks: dict[str, Any] = field(default_factory=dict)
    """What its own callbacks keep, by their keys."""

    def plain(self) -> list[Any]:
        """The values from which `Moment(*values)` is made again."""
        return list(vars(self).values())


class PutBy:
    """A state of each run, or of some of them: the stack that they are rows of goes on and shrinks meanwhile."""

    def __init__(self, like: Stack) -> None:
        """Rows are places among the members, however the rows of the stack `like` come to be ordered."""
        self.stack = like.select(range(len(like)))
        self.moments: dict[int, Moment] = {}

    def __contains__(self, run: int) -> bool:
        return run in self.moments

    def put(self, stack: Stack, rows: Mapping[int, int], moments: Mapping[int, Moment]) -> None:
        """Keep the states of some runs as they are now, in the place of those before; `rows` are theirs there."""
        self.stack.copy_rows(list(rows), stack, list(rows.values()))
        self.moments |= moments

    def position(self, run: int) -> Position:
        """Where the state stands."""
        moment = self.moments[run]
        return Position(moment.epoch, moment.batch, self.stack.steps[run])

    def plain_moments(self) -> dict[int, list[Any]]:
        """The moments, for a file."""
        return {run: moment.plain() for run, moment in self.moments.items()}

    def load(self, stack: Mapping[str, Any], moments: Mapping[int, Sequence[Any]]) -> None:
        """Take over what was written of the stack and of the moments."""
        self.stack.load_state_dict(stack)
        self.moments = {run: Moment(*moment) for run, moment in moments.items()}


def checkpoint(member: Member, rate: Rate | RunOptimizer, stack: Stack, row: int, moment: Moment) -> dict[str, Any]:
    """A run's state as a checkpoint of Lightning."""
    step = stack.steps[row]
    params = [param for param in member.module.parameters() if param.requires_grad]
    groups, schedules = rate.torch_state(params, moment.epoch, step, moment.rate)
    state = stack.optimizer_state(row)
    optimizers = (
        rate.split(state, groups) if isinstance(rate, RunOptimizer) else [{"state": state, "param_groups": groups}]
    )
    stopping = member.early_stopping
    found: dict[str, Any] = {
        "epoch": moment.epoch,
        "global_step": step,
        "pytorch-lightning_version": _LIGHTNING,
        "state_dict": state_dict_of(member.module, stack.judged.weights(row)),
        "loops": {},
        "callbacks": {**({stopping.state_key: moment.early_stopping} if stopping else {}), **moment.callbacks},
        "optimizer_states": optimizers,
        "lr_schedulers": schedules,
    }
    if gradients := stack.gradients(row):
        found[KEY] = gradients
    if stack.averages:
        found["current_model_state"] = state_dict_of(member.module, stack.weights(row))
        found["averaging_state"] = {"n_averaged": torch.tensor(stack.averages.taken[row])}
        found["callbacks"][stack.averages.how[row].key] = {"latest_update_step": stack.averages.latest[row]}
    # Once everything of Lightning's is there, as alone: the hook may change what it finds.
    member.module.on_save_checkpoint(found)
    if moment.sums or isinstance(member.module, Supervised):  # which adds up alone what the stack does for it here
        found["sums"] = dict(moment.sums)
    return found
