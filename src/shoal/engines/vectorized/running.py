"""A stack of runs between two epochs: where each of them stands, and everything that can be asked of it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from math import nan
from typing import Any

from torch import Tensor

from shoal.engines.length import horizon, n_batches
from shoal.engines.position import Position
from shoal.engines.stack.halving import Halving
from shoal.engines.stack.moving import HOST
from shoal.engines.stack.stack import SMALLEST, Stack, state_dict_of
from shoal.engines.vectorized.hooks.hooked import Hooks
from shoal.engines.vectorized.hooks.tried import callbacks_as_they_were
from shoal.engines.vectorized.judge import Judge
from shoal.engines.vectorized.member import Member
from shoal.engines.vectorized.new_stack import new_stack
from shoal.engines.vectorized.run_epoch import Ending, RunEpoch
from shoal.engines.vectorized.run_state import Moment, PutBy, checkpoint
from shoal.engines.vectorized.steps import Steps
from shoal.schedulers import Horizon
from shoal.step.drawn.keys import StepKeys
from shoal.step.logged import Stage
from shoal.step.reach import Reach


class Running:
    """The runs of a stack and their state; it can be saved and rebuilt."""

    def __init__(
        self, members: Sequence[Member], steps: Steps | None = None, *, halving: Halving | None = None
    ) -> None:
        """`steps` are those of another stack of the same kind, where there was one."""
        self.members = members
        settings = members[0].job.trainer
        self.horizon = self.horizon_under(settings)
        self.rates = [member.rate(self.horizon) for member in members]
        self.accumulate = int(settings.get("accumulate_grad_batches") or 1)
        self.stack = new_stack(members, self.rates, accumulate=self.accumulate)
        self.steps = steps or Steps(members[0], accumulate=self.accumulate)
        self.judge = Judge(members, halving)
        self.epoch = 0
        self.batch = 0
        """Batches done of the epoch that is under way: none, unless it was stopped or `max_steps` cuts it short."""
        self.sums: dict[int, dict[str, list[Any]]] = {}
        """What the steps of that epoch have logged, by run: sum and number of samples of each metric."""
        self.rows = list(range(len(members)))
        """The member in each row of the stack; rows beyond are copies of the last."""
        self.endings: dict[int, Ending] = {}
        self.sizes: dict[int, None] = {}
        """Those that the stack has had."""
        self.unfit: set[int] = set()
        """Numbers of runs that cannot be a stack of their own."""
        self.hooks = Hooks(members, self.steps)
        self.outside: Reach | None = None
        """What its steps and hooks can reach outside of the modules, as it was before any of them."""
        self._best = PutBy(self.stack)
        self._last = PutBy(self.stack)
        """Of the runs that have ended."""

    @property
    def unlogged(self) -> frozenset[str]:
        """Names of what the steps measure for callbacks only."""
        found = [every.items() for each in self.steps.captured.values() for every in (each.entries, each.of_metrics)]
        shown = {name for entries in found for name, entry in entries if entry.shown}
        return frozenset(name for entries in found for name, _ in entries if name not in shown)

    @property
    def filled(self) -> list[int]:
        """The member in every row, copies included."""
        return [*self.rows, *self.rows[-1:] * (len(self.stack) - len(self.rows))]

    @property
    def keys(self) -> StepKeys:
        """What the steps of all rows draw from."""
        return StepKeys([self.members[run].job.seed for run in self.filled], self.stack.device)

    @property
    def step(self) -> int:
        """Optimizer steps that the runs still training have done."""
        return max((self.stack.steps[row] for row in self.live.values()), default=0)

    def batches_left(self, n: int) -> int:
        """How many of an epoch's `n` batches are left to train on before `max_steps` is reached."""
        left = n - self.batch
        max_steps = self.judge.max_steps
        # Each step takes `accumulate` batches; without a limit Lightning has -1.
        return left if max_steps in (-1, None) else min(left, (max_steps - self.step) * self.accumulate)

    @property
    def live(self) -> dict[int, int]:
        """The row of each run that has not ended."""
        return {run: row for row, run in enumerate(self.rows) if run not in self.endings}

    def end_epoch(self, metrics: Mapping[int, Mapping[str, float]], *, validated: bool | None) -> list[RunEpoch]:
        """Let each run's scheduler, early stopping and best state follow from what it measured.

        `validated` is None for an epoch that `max_steps` cut short: the state is kept that a longer training goes on
        from.

        Raises:
            ConfigError: where a monitored metric is missing although the runs were validated.
        """
        live = self.live
        # Before the epoch is counted: a run that `max_steps` cuts short is kept where a longer one would go on.
        partial = {run: self._moment(run) for run in live} if self.batch else {}
        self.batch, self.sums = 0, {}
        self.epoch += 1
        measured = [self._ended_epoch(live[run], run, values, validated) for run, values in metrics.items()]
        epochs = self.judge.halved(measured, self.epoch)
        best = {each.run: live[each.run] for each in epochs if each.best}
        self._best.put(self.stack, best, {run: self._moment(run) for run in best})
        over = {each.run: each.ended for each in epochs if each.ended}
        self.endings |= over
        last = {run: live[run] for run in over}
        for row in last.values():
            # From here on it stands still, until the stack is made smaller without it.
            self.stack.active[row] = False
        self._last.put(self.stack, last, {run: partial.get(run) or self._moment(run) for run in last})
        return epochs

    def begin_epoch(self) -> None:
        """Call the hooks of an epoch's beginning, unless they were called; each run's Trainer stands there then."""
        for run, row in self.live.items():
            self.members[run].trainer.stand(self.epoch, self.stack.steps[row])
            self.members[run].trainer.epochs_done = self.epoch
        if self.hooks.begin(self.stack, self.live, self.epoch):
            self.fill_rows()

    def end_steps(self) -> None:
        """Tell schedulers that the epoch's steps are taken; as in Lightning, not where `max_steps` cut it short."""
        for run, row in self.live.items():
            if row not in self.stack.diverged:
                self.members[run].trainer.stand(self.epoch, self.stack.steps[row])
                self.members[run].trainer.epochs_done = self.epoch + 1
                self.rates[run].end_steps()

    def refill(self, stage: Stage, steps: Sequence[Mapping[str, Tensor]]) -> None:
        """Let each run's module have in its lists what its steps have appended."""
        fills = self.steps.captured[stage].fills
        for run, row in self.live.items() if fills.items else ():
            fills.refill(self.members[run].module, steps, row)

    def metrics(self, stage: Stage) -> dict[str, list[float]]:
        """What the metrics of the runs' modules have come to, for each row of the stack."""
        own = self.steps.captured[stage].fills.metrics
        if not own.logged:
            return {}
        rows = {row: own.values(self.members[run].module) for run, row in self.live.items()}
        # For rows of runs that have ended, and of copies: nobody looks at their numbers.
        nothing = dict.fromkeys(own.logged, nan)
        every = [rows.get(row, nothing) for row in range(len(self.stack))]
        return {name: [each[name] for each in every] for name in own.logged}

    def reset_metrics(self, stage: Stage) -> None:
        """Begin anew with the metrics that the steps log."""
        own = self.steps.captured[stage].fills.metrics
        for run in self.live if own.logged else ():
            own.reset(self.members[run].module)

    def call_hooks(self, *names: str, metrics: Mapping[int, Mapping[str, float]] | None = None) -> None:
        """Call the hooks of these names of each run that is left; `metrics` are what it has measured in this epoch."""
        if self.hooks.call(names, self.stack, self.live, self.epoch, metrics):
            self.fill_rows()

    @contextmanager
    def hooks_tried(self, *names: str) -> Iterator[None]:
        """The same for a look at the steps that come after them: once it is over, nobody has taken note of it."""
        if not self.hooks.has(names):
            yield
            return
        weights = self.stack.params, *self.stack.buffers.values()
        before = [value.clone() for value in weights]
        with self.hooks.undone():
            with callbacks_as_they_were((member.job for member in self.members), functions=False):
                self.call_hooks(*names)
            yield
        for value, own in zip(weights, before, strict=True):
            value.copy_(own)

    def fill_rows(self) -> None:
        """Let rows that have no run of their own be copies of the last one."""
        filling = range(len(self.rows), len(self.stack))
        self.stack.copy_rows(filling, self.stack, [len(self.rows) - 1] * len(filling))

    def _ended_epoch(self, row: int, run: int, metrics: Mapping[str, float], validated: bool | None) -> RunEpoch:
        divergence, step = self.stack.diverged.get(row), self.stack.steps[row]
        found = self.judge.ended_epoch(
            run, metrics, n_epochs=self.epoch, step=step, divergence=divergence, validated=validated
        )
        why = self.stack.stopped(row)
        if self.hooks.stops(run) and self.epoch >= self.judge.min_epochs:
            why = "a hook set trainer.should_stop"
        if why and not found.ended:
            found = replace(found, ended="stopped", reason=why)
        # As `end_steps`.
        if found.ended != "diverged" and validated is not None:
            self.members[run].trainer.stand(self.epoch - 1, step)
            self.rates[run].end_epoch(metrics, validated=validated)
        return found

    def droppable(self) -> list[int] | None:
        """The rows of the runs that are left, once they are half of the stack or fewer; None before."""
        left = list(self.live.values())
        # At half, since another size means other programs: to be traced, compared and compiled anew.
        enough = left and (len(self.stack) <= SMALLEST or len(left) > len(self.stack) // 2)
        return None if enough else left

    def smaller(self, rows: Sequence[int]) -> Stack:
        """A stack of these rows alone; the stack itself if there are none."""
        return self.stack.select(rows, size=SMALLEST) if rows else self.stack

    def shrink(self, rows: Sequence[int], smaller: Stack) -> None:
        """Go on with these of the rows, which are the smaller stack's."""
        self.rows = [self.rows[row] for row in rows]
        self.stack = smaller

    @property
    def notes(self) -> list[str]:
        """What there is to say of how the runs got the bits that they have."""
        elsewhere = self.stack.device != HOST
        own = [f"trained on {self.stack.device}: the bits of its runs hold for this stack only"] if elsewhere else []
        return own + [note for n in self.sizes for note in self.steps.guard.notes(n)]

    def checkpoint(self, run: int) -> dict[str, Any]:
        """The run's state as a checkpoint of Lightning, at the end of the last epoch it trained in."""
        if run in self._last:
            return self._checkpoint(run, self._last)
        return checkpoint(self.members[run], self.rates[run], self.stack, self.rows.index(run), self._moment(run))

    def best_is_last(self, run: int) -> bool:
        """Whether the monitored metric was best at the end of the last epoch the run trained in."""
        return run in self._best and self._best.position(run).step == self.position(run).step

    def best_checkpoint(self, run: int) -> dict[str, Any] | None:
        """The run's state when the monitored metric was best."""
        return self._checkpoint(run, self._best) if run in self._best else None

    def _checkpoint(self, run: int, states: PutBy) -> dict[str, Any]:
        return checkpoint(self.members[run], self.rates[run], states.stack, run, states.moments[run])

    def best_weights(self, run: int) -> dict[str, Tensor]:
        """The run's weights when the monitored metric was best; its last ones where none is monitored."""
        states = next((each for each in (self._best, self._last) if run in each), None)
        stack, row = (states.stack, run) if states else (self.stack, self.rows.index(run))
        weights = stack.judged.weights(row)
        return state_dict_of(self.members[run].module, weights)

    def horizon_under(self, trainer: Mapping[str, Any]) -> Horizon:
        """How long a run will train under these settings of the Trainer if nothing stops it."""
        return horizon(trainer, n_batches(trainer, len(self.members[0].job.sources()[0])))

    def _moment(self, run: int) -> Moment:
        stopping = self.members[run].early_stopping
        early_stopping = dict(stopping.state_dict()) if stopping else None
        rate = self.rates[run].state_dict()
        sums, callbacks = dict(self.sums.get(run, {})), self.members[run].callback_states()
        return Moment(self.epoch, early_stopping, rate, self.batch, sums, callbacks)

    def position(self, run: int) -> Position:
        """Where the run's state stands that `checkpoint` gives."""
        if run in self._last:
            return self._last.position(run)
        return Position(self.epoch, self.batch, self.stack.steps[self.rows.index(run)])

    def state_dict(self) -> dict[str, Any]:
        """Everything to go on from after this epoch: tensors and plain values."""
        return {
            "epoch": self.epoch,
            "rows": list(self.rows),
            "endings": dict(self.endings),
            "best_values": dict(self.judge.best_values),
            "rungs": self.judge.rungs,
            "batch": self.batch,
            "sums": {run: dict(sums) for run, sums in self.sums.items()},
            "left": self.steps.captured["train"].left.plain(),
            "stack": self.stack.state_dict(),
            "kept": self._best.stack.state_dict(),
            "last": self._last.stack.state_dict(),
            "best_moments": self._best.plain_moments(),
            "last_moments": self._last.plain_moments(),
            "moments": {run: self._moment(run).plain() for run in range(len(self.members))},
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on from where `state_dict` was taken, with the same members."""
        self.epoch, self.rows = saved["epoch"], list(saved["rows"])
        self.steps.captured["train"].left.load(saved.get("left", {"scratch": [], "constants": [], "told": []}))
        if self.rows:
            self.stack = self.stack.select(self.rows, size=len(saved["stack"]["params"]))
        self.stack.load_state_dict(saved["stack"])
        self._best.load(saved["kept"], saved["best_moments"])
        self._last.load(saved["last"], saved["last_moments"])
        self.endings, self.judge.best_values = dict(saved["endings"]), dict(saved["best_values"])
        self.judge.rungs, self.batch = saved["rungs"], saved["batch"]
        self.sums = {run: dict(sums) for run, sums in saved["sums"].items()}
        for run, (_, early_stopping, rate, *rest) in saved["moments"].items():
            stopping = self.members[run].early_stopping
            if stopping:
                stopping.load_state_dict(copy.deepcopy(early_stopping))
            if rate:
                self.rates[run].load_state_dict(rate)
            # An older state has nothing of the callbacks.
            self.members[run].load_callbacks(rest[2] if len(rest) > 2 else {})
