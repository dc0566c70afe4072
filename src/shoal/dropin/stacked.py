"""Jobs that train their epochs as one stack: before and after each, module and optimizer are a job's own."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from shoal.dropin.job_step import JobStep, unreached
from shoal.dropin.own_values import OwnValues, in_place
from shoal.dropin.step_draws import StepDraws
from shoal.dropin.untouched import Untouched, replace
from shoal.dropin.waiting import Passed, Trained, Waiting, side_by_side
from shoal.engines.stack.by_objects import ByObjects
from shoal.engines.stack.clipping import GradientLimits
from shoal.engines.stack.epoch import Training
from shoal.engines.stack.epoch_history import EpochHistory
from shoal.engines.stack.run_optimizer import UnfitError
from shoal.engines.stack.stack import SMALLEST, Stack
from shoal.engines.stack.steady import steady
from shoal.engines.stack.stepping import OTHERS, begun_anew, fitted
from shoal.engines.stack.update import Update
from shoal.engines.vectorized.probing.probe import probe
from shoal.seeding import generators_restored
from shoal.step.clock import Clock
from shoal.step.compiled.program import Heat
from shoal.step.drawn.ahead import AheadClock
from shoal.step.exact.guard import Guard, InexactError
from shoal.step.mapped import Mapped
from shoal.step.metered import MARK, MeteredStep
from shoal.step.outward import forgetting

log = logging.getLogger(__name__)

PATIENCE = 10.0
"""Seconds that steps run longer than in shoal's own sweeps before they are compiled: to try kernels for one takes a
process seconds, of which short sweeps see little again."""

Rows = Mapping[int, Waiting]
"""Jobs by their rows of the stack."""


class Stacked:
    """A stack of jobs, and the programs for their steps."""

    def __init__(self, members: Sequence[Waiting]) -> None:
        """The jobs begin in it; each keeps the row that it has among them.

        Raises:
            UnfitError: where it cannot be stepped by their optimizers.
            CannotStackError: where their metrics have other states than tensors.
        """
        fits = [each.fit for each in members]
        first = fits[0]
        self.fits = fits
        self.rows = list(range(len(fits)))
        """The member in each row; rows beyond are copies of the last."""
        # Tried as before its first step: what an object that has stepped keeps is of other parameters than are tried.
        rule = fitted(begun_anew(first.own) if members[0].stepped else first.own, first.own.weights)
        if rule.asks:
            raise UnfitError(f"{first.own.called} asks for the loss again within a step", OTHERS)
        heat, self._guard = Heat(patience=PATIENCE), Guard()
        self._guard.exact = True
        modules = [each.module for each in fits]
        self._resolved = [found for each in fits for found in each.resolved]
        own = OwnValues(modules, self._resolved)
        self.read = own.read
        """What steps have read that is not the same in all jobs, by path: for each something to compare."""
        self._steps = {"train": JobStep(first.module, "train"), "val": JobStep(first.module, "val")}
        self._steps["train"].own = self._steps["val"].own = own
        self._accumulate = first.accumulate
        self._train = Mapped(
            self._steps["train"], share=1 / first.accumulate, heat=heat, guard=self._guard, presumes=False
        )
        # With a heat of its own: few batches of validation do not pay for being compiled because those of training do.
        self._val = Mapped(
            self._steps["val"], gradients=False, heat=Heat(patience=PATIENCE), guard=self._guard, presumes=False
        )
        self._update = Update(heat, self._guard)
        norms, values = zip(*(each.limits for each in fits), strict=True)
        limits = GradientLimits.of(norms, values)
        self.stack = Stack.of(modules, rule, {}, limits=limits, own=[each.own for each in fits])
        self._held = [MeteredStep(module, "train") for module in modules]
        held = [step.held() for step in self._held]
        filled = [*self.rows, *self.rows[-1:] * (len(self.stack) - len(self.rows))]
        self.stack.buffers |= {
            name: torch.stack([held[row][name] for row in filled]) for name in held[0] if name.startswith(MARK)
        }
        self._ready: set[Any] = set()
        self._asked = StepDraws(self._steps["train"], self.stack.layout.names)
        self._validates: bool | None = None
        self.why_not_validated = ""

    def unlike(self, jobs: Rows, *, rows: Sequence[int] | None = None) -> dict[int, str]:
        """Why jobs would not train here as they do alone, by row; `rows` are looked at, all of them unless given."""
        self._guard.on = False
        # Bits are compared once it is known who stays (`_rehearse`).
        found: dict[int, str] = {}
        with self._computing(jobs), forgetting():
            self._refresh(jobs)
            modules = [self.fits[member].module for member in self.rows]
            untouched, waiting = Untouched(modules), next(iter(jobs.values()))
            ahead = self._asked.ahead(jobs, len(self.stack), keeps=True)
            # The second batch too: what a step does by the number of the batch is seen there.
            for number in range(min(2, len(waiting.train.places))):
                clock = AheadClock(ahead, waiting.epoch, number, waiting.step + number // self._accumulate)
                batch = self._batch(jobs, "train", number)
                with untouched:
                    if rows is None and not number and (why := unreached(self._steps["train"], batch, clock)):
                        return dict.fromkeys(self.rows, why)
                    found |= probe(self.stack, self._train, modules, batch, clock, rows=rows)
        return found | {row: f"training_step changes {name}" for row, name in untouched.changed.items()}

    def epoch(self, jobs: Rows) -> dict[int, Trained | str]:
        """Train an epoch of the jobs in these rows; for each what it came to, or why it has to train it alone."""
        with self._computing(jobs):
            self._refresh(jobs)
            # Rows that fill it up train along: where all rows step, none has to be put back.
            self.stack.active = [row in jobs or row >= len(self.rows) for row in range(len(self.stack))]
            self.stack.diverged = {}
            waiting = next(iter(jobs.values()))
            self._rehearse(jobs)
            n = len(waiting.train.places)
            training = Training(self.stack, self._train, self._update, accumulate=self._accumulate)
            ahead = self._asked.ahead(jobs, len(self.stack))
            batches = (self._batch(jobs, "train", number) for number in range(n))
            # For nobody: objects step the rows, each with the rates of its own groups.
            rates = [torch.zeros(len(self.stack), 1, dtype=torch.float64)]
            history = training.epoch(batches, rates, AheadClock(ahead, waiting.epoch, 0, waiting.step), n_batches=n)
            left = ahead.states() if self._asked.draws else {}
            found = {row: self._trained(row, job, history, training._grads, left) for row, job in jobs.items()}
            self._validate(jobs, found)
        return found

    def shrink(self, rows: Sequence[int]) -> bool:
        """Keep these rows alone once they are half of the stack or fewer; whether any were dropped."""
        if len(rows) > len(self.stack) // 2 or len(self.stack) <= SMALLEST:
            return False
        self.rows = [self.rows[row] for row in rows]
        self.stack = self.stack.select(list(rows), size=SMALLEST)
        self._ready.clear()
        return True

    @contextmanager
    def _computing(self, jobs: Rows) -> Iterator[None]:
        """As the jobs' steps compute; afterwards their modules are in the modes that they were in."""
        before = torch.get_default_dtype()
        modes = [(part, part.training) for fit in self.fits for part in fit.module.modules()]
        if next(iter(jobs.values())).fit.double:
            torch.set_default_dtype(torch.float64)
        try:
            with in_place(self._resolved), steady(), generators_restored(), torch.enable_grad():
                yield
        finally:
            torch.set_default_dtype(before)
            for part, mode in modes:
                part.training = mode

    def _refresh(self, jobs: Rows) -> None:
        """Take over what has changed in the jobs' own modules and optimizers since the last epoch here."""
        for row, job in jobs.items():
            module, optimizer = job.fit.module, job.fit.own.optimizer
            if job.fit.versions is None or job.fit.versions != job.fit.now():
                params = {name: param.detach() for name, param in module.named_parameters()}
                self.stack.load_weights(row, {**params, **dict(module.named_buffers())})
                self.stack.load_optimizer_state(row, optimizer.state_dict()["state"], steps=job.stepped)
            self.stack.steps[row] = job.stepped
            for name, value in self._held[self.rows[row]].held().items():
                if name.startswith(MARK):
                    self.stack.buffers[name][row] = value
        filling = range(len(self.rows), len(self.stack))
        self.stack.copy_rows(filling, self.stack, [len(self.rows) - 1] * len(filling))

    def _batch(self, jobs: Rows, stage: str, number: int) -> Any:
        """A batch for every row; a row without a job is given the batch of another row."""
        some = next(iter(jobs.values()))
        found = [jobs.get(row, some) for row in range(len(self.rows))]
        found += found[-1:] * (len(self.stack) - len(found))
        parts = [each.train if stage == "train" else each.validation for each in found]
        return side_by_side(parts, number, self.stack.params.dtype)

    def _rehearse(self, jobs: Rows) -> None:
        """Have the programs ready that give each job the bits it has in any stack."""
        self._guard.on = len(self.rows) > 1
        if not self._rehearsed(jobs):
            self._guard.exact = False
            log.info("the bits of these jobs may depend on which of them train together")
            self._rehearsed(jobs)

    def _rehearsed(self, jobs: Rows) -> bool:
        waiting = next(iter(jobs.values()))
        sizes = waiting.train.sizes
        try:
            # Reversed, so that of each size the first batch is the one that stays.
            for number in {size: place for place, size in reversed(list(enumerate(sizes)))}.values():
                key = len(self.stack), sizes[number]
                if key not in self._ready:
                    ahead = self._asked.ahead(jobs, len(self.stack), first=number)
                    clock = AheadClock(ahead, waiting.epoch, number, waiting.step)
                    self._train.rehearse(
                        self.stack.views(), self.stack.buffers, self._batch(jobs, "train", number), clock
                    )
                    self._ready.add(key)
        except InexactError:
            return False
        return True

    def _trained(
        self, row: int, job: Waiting, history: EpochHistory, grads: Tensor, left: Mapping[int, Tensor]
    ) -> Trained | str:
        if row in self.stack.diverged:
            return f"{self.stack.diverged[row]}"
        train = self._passed("train", row, history.losses, history.logged, job.train.sizes, self.stack.buffers)
        if isinstance(train, str):
            return train
        layout, own = self.stack.layout, job.fit.own
        # A state of one column is a number of the job's optimizer, not one for each of its parameters.
        parts = {name: layout.parts(each[row]) for name, each in self.stack.state.items() if each.shape[1] > 1}
        rule = self.stack.rule
        assert isinstance(rule, ByObjects)
        state = (
            rule.of_params(parts, self.stack.state, row, [len(names) for names in own.names])
            if rule.whole
            else copy.deepcopy(self.stack.kept[row])
        )
        params = [part.clone() for part in layout.parts(self.stack.params[row])]
        return Trained(params, [part.clone() for part in layout.parts(grads[row])], state, left.get(row), train, None)

    def _passed(
        self,
        stage: str,
        row: int,
        losses: Sequence[Tensor],
        logged: Sequence[Mapping[str, Tensor]],
        sizes: tuple[int, ...],
        buffers: Mapping[str, Tensor],
    ) -> Passed | str:
        """The results of the steps for this row, or the reason why they cannot be told."""
        if any(each.keys() != logged[0].keys() for each in logged):
            return "its steps do not all log the same"
        values = {name: torch.stack([each[name][row] for each in logged]) for name in logged[0]}
        given = {**values, **{name: value[row] for name, value in buffers.items() if name.startswith(MARK)}}
        given["the loss"] = torch.stack([each[row] for each in losses])
        for name, value in given.items():
            # The state of a metric may be infinite until it is told of a value, as a minimum is.
            if value.is_floating_point() and bool(value.isnan().any() or (name in values and value.isinf().any())):
                return f"{name} is not finite"
        step = self._steps[stage]
        own = {name: value[row].clone() for name, value in buffers.items()}
        return Passed(values, sizes, step.calls, step.metrics, step.updates, own)

    def _validate(self, jobs: Rows, found: dict[int, Trained | str]) -> None:
        """Let the jobs that trained have their validation as well, where it comes next."""
        left = {row: job for row, job in jobs.items() if isinstance(found[row], Trained)}
        if not left or any(job.val is None for job in left.values()) or self._validates is False:
            return
        modules = [self.fits[member].module for member in self.rows]
        if self._validates is None:
            self._guard.on = False
            clock = Clock(next(iter(left.values())).epoch, 0, self._step(left))
            batch = self._batch(left, "val", 0)
            # The probe asks each module's own step, which needs the weights that the epoch has come to.
            with Untouched(modules) as untouched:
                for row in left:
                    replace(self.fits[self.rows[row]].module, self.stack.weights(row))
                unlike = probe(self.stack, self._val, modules, batch, clock, rows=list(left))
            unlike |= {row: f"validation_step changes {name}" for row, name in untouched.changed.items()}
            self._guard.on = len(self.rows) > 1
            self._validates, self.why_not_validated = not unlike, next(iter(unlike.values()), "")
            if unlike:
                return
        self._evaluate(left, found)

    def _step(self, jobs: Rows) -> int:
        return max(self.stack.steps[row] for row in jobs)

    def _evaluate(self, jobs: Rows, found: dict[int, Trained | str]) -> None:
        waiting = next(iter(jobs.values()))
        buffers, views = dict(self.stack.buffers), self.stack.views()
        losses, logged = [], []
        sizes = waiting.validation.sizes
        for number in range(len(sizes)):
            clock = Clock(waiting.epoch, number, self._step(jobs))
            try:
                result = self._val(views, buffers, self._batch(jobs, "val", number), clock)
            except InexactError:
                self._guard.exact = False
                result = self._val(views, buffers, self._batch(jobs, "val", number), clock)
            buffers = result.buffers
            losses.append(result.losses)
            logged.append(result.logged)
        for row in jobs:
            passed = self._passed("val", row, losses, logged, sizes, buffers)
            trained = found[row]
            assert isinstance(trained, Trained)
            trained.val = None if isinstance(passed, str) else passed
