"""Which runs share a stack, which train alone and why, and how stacks are cut into blocks."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytorch_lightning as pl
from pytorch_lightning import callbacks as lightning
from pytorch_lightning.callbacks import WeightAveraging

from shoal.engines.hook_names import END, VALIDATION, called, hooks_of, not_called, upstream
from shoal.engines.job import Job
from shoal.engines.launching import on_host
from shoal.engines.stack.averaging import Averaging, why_apart
from shoal.engines.stack.run_optimizer import RunOptimizer, UnfitError
from shoal.engines.stack.stepping import fitted
from shoal.engines.vectorized.hooks.hooked import begun
from shoal.engines.vectorized.member import Member, unsupported
from shoal.engines.vectorized.probing import failure_words
from shoal.engines.vectorized.signature import Signature, difference, instead_of, signature, unstackable
from shoal.engines.vectorized.size import Footprint
from shoal.engines.vectorized.steps import training_step
from shoal.record import Checkpoint, EarlyStopping, GradientNorm, LearningRate, Progress
from shoal.record.loggers.run_logger import nowhere
from shoal.step.unfit import sentence

SMALLEST = 8
"""Runs of a block at least, where a stack is cut only to give every process something to do."""
PER_RUN = frozenset({"_target_", "gradient_clip_val", "gradient_clip_algorithm"})
"""Settings of the Trainer that may differ within a stack."""
_BY_EPOCH = "averages after each epoch's training steps, by the mean or a decay, stack"
_WITHOUT = "without it its runs stack, and hooks of a callback of your own at the ends of epochs are called in a stack"
KNOWN = (Checkpoint, LearningRate, GradientNorm, Progress, EarlyStopping, lightning.EarlyStopping)
"""Callbacks whose work a stack does itself."""


@dataclass
class Group:
    """Runs that can share a stack."""

    signature: Signature
    footprint: Footprint
    numbers: list[int] = field(default_factory=list)
    """Those whose optimizers have the same settings side by side: one object steps them."""
    _settings: list[str] = field(default_factory=list)

    def add(self, number: int, settings: str) -> None:
        """Add a job, whose optimizer has these settings."""
        place = bisect_right(self._settings, settings)
        self._settings.insert(place, settings)
        self.numbers.insert(place, number)


@dataclass
class Plan:
    """Who trains with whom."""

    groups: list[Group] = field(default_factory=list)
    alone: dict[int, str] = field(default_factory=dict)
    """The reason for each run that trains alone."""
    _places: dict[Hashable, Group] = field(default_factory=dict)

    def add(self, number: int, job: Job) -> None:
        """Find a place for a job."""
        module = job.module_to_stack()
        reason = why_alone(job, module)
        if reason:
            self.alone[number] = reason
            return
        # Not Member.of, which would draw another module beside the one that was looked at.
        member = Member(job, module)
        try:
            own = _own(member.attached())
            found = _signature(job, module, own)
        except UnfitError as error:
            self.alone[number] = str(error)
            return
        except (Exception, SystemExit) as error:  # whatever the module does where it is set up
            self.alone[number] = failure_words.reason(error, module)
            return
        key = tuple(found.items())
        # Of the first of its kind alone: what its step and its optimizer do, those of all others do.
        if key not in self._places:
            try:
                with nowhere() as logger:
                    member.trainer.loggers = [logger]
                    begun(member)
                footprint = _footprint(member)
                if own:
                    fitted(own, own.weights, accumulate=int(job.trainer.get("accumulate_grad_batches") or 1))
            except UnfitError as error:
                self.alone[number] = str(error)
                return
            except (Exception, SystemExit) as error:  # whatever a user's own step does; alone it may do it
                self.alone[number] = failure_words.reason(error, module)
                return
            self._places[key] = Group(found, footprint)
            self.groups.append(self._places[key])
        self._places[key].add(number, own.key() if own else "")

    def blocks(self, processes: int, size: int | None = None, *, dealt: bool = False) -> list[tuple[int, list[int]]]:
        """The stacks, cut into blocks of equal size that suit the cache and give every process something to do.

        Each with the place of its group. `dealt` says to deal the runs out to the blocks one by one, so that each
        block has some of every setting.
        """
        return [
            (place, block)
            for place, group in enumerate(self.groups)
            for block in _cut(group.numbers, _count(group, processes, size), dealt=dealt)
        ]

    def why_apart(self, number: int) -> str | None:
        """In what a group differs from the first group, which is why they share no stack."""
        first, other = self.groups[0], self.groups[number]
        return difference(first.signature, other.signature)


def why_alone(job: Job, module: pl.LightningModule) -> str | None:
    """Why a run cannot share a stack, or None where it can, as far as can be seen without a step."""
    if job.engine == "lightning":
        return sentence("engine=lightning trains each run by itself", "engine=vectorized stacks them")
    if not job.in_memory and job.why_without_sources:
        return sentence(
            f"a stack cannot have its samples from its data loaders ({job.why_without_sources})",
            "a DataLoader whose batches are of tensors, in tuples, lists or dictionaries, can give them",
        )
    if wrong := unsupported(job.trainer):
        return wrong
    for name, callback in job.callbacks.items():
        if type(callback) in KNOWN:  # a class of the user's own may do more than its parent
            if isinstance(callback, Checkpoint) and callback.every_n_train_steps:
                return sentence(
                    f"callbacks.{name}.every_n_train_steps={callback.every_n_train_steps} saves within an epoch",
                    f"with callbacks.{name}.every_n_train_steps=null it saves as an epoch ends, in a stack too",
                )
            continue
        if isinstance(callback, WeightAveraging):
            if why := why_apart(callback, job.trainer, validates=job.validates) or _seen_averaged(job, module):
                return sentence(f"callbacks.{name} ({type(callback).__name__}) {why}", _BY_EPOCH)
            continue
        if isinstance(callback, KNOWN) or upstream(callback):
            return sentence(f"callbacks.{name} ({type(callback).__name__}) needs a Trainer of its own", _WITHOUT)
        if hook := not_called(callback):
            return sentence(
                f"callbacks.{name} ({type(callback).__name__}) has {hook}, which a stack does not call",
                instead_of(hook),
            )
    if why := _checked_before(job, module):
        return why
    if not module.automatic_optimization and (why := _beside_by_hand(job)):
        return why
    for kind in (lightning.EarlyStopping, WeightAveraging):
        if sum(isinstance(callback, kind) for callback in job.callbacks.values()) > 1:
            return sentence(f"it has several {kind.__name__} callbacks", "with one of them it stacks")
    return unstackable(module, job.optimizer)


def _beside_by_hand(job: Job) -> str | None:
    """What a stack does not follow of a run whose module optimizes by hand."""
    limit = job.trainer.get("max_steps")
    if limit not in (None, -1):
        return sentence(
            f"trainer.max_steps={limit} may end within a step that optimizes by hand", "trainer.max_epochs stacks"
        )
    if any(isinstance(each, WeightAveraging) for each in job.callbacks.values()):
        return sentence("it averages the weights of a module that optimizes by hand", "without that callback it stacks")
    return None


def _checked_before(job: Job, module: pl.LightningModule) -> str | None:
    """Why hooks of the validation would be called less often than alone: a stack begins with no check of it."""
    asked = job.trainer.get("num_sanity_val_steps")
    for owner in (*called(job.callbacks).values(), module) if asked and job.validates else ():
        for hook in hooks_of(owner):
            if hook in VALIDATION:
                return sentence(
                    f"trainer.num_sanity_val_steps={asked} calls {hook} of {type(owner).__name__} before the training",
                    "with trainer.num_sanity_val_steps=0 it stacks",
                )
    return None


def _seen_averaged(job: Job, module: pl.LightningModule) -> str | None:
    """Why hooks would see other weights than alone: a stack leaves the averaged ones out of the runs' modules."""
    for owner in (*called(job.callbacks).values(), module):
        for hook in hooks_of(owner):
            if hook in (*VALIDATION, *END):
                return f"averages weights that {hook} of {type(owner).__name__} may look at"
    return None


def _own(member: Member) -> RunOptimizer | None:
    """The optimizer object that a run is stepped by, where it is not by a rule."""
    rate = member.rate(member.trainer.horizon)
    return rate if isinstance(rate, RunOptimizer) else None


def _signature(job: Job, module: pl.LightningModule, own: RunOptimizer | None) -> Signature:
    train, val = job.sources()
    settings: Mapping[str, Hashable] = {
        f"trainer.{name}": str(value) for name, value in job.trainer.items() if name not in PER_RUN
    }
    how = Averaging.of(job.callbacks)
    return {
        **signature(module, job.optimizer.in_stack, train.first()),
        **({"the optimizer": own.called, "the optimizer's groups": str(own.names)} if own else {}),
        **settings,
        **({"how weights are averaged": how.in_words} if how else {}),
        **{name.format("training"): value for name, value in train.key.items()},
        "the number of data loaders for validation": len(val),
        **{
            name.format(f"validation{number or ''}"): value
            for number, each in enumerate(val)
            for name, value in each.key.items()
        },
        "what the task measures": tuple(job.task.metric_names),
        "the number of threads": job.threads,
    }


def _footprint(member: Member) -> Footprint:
    job = member.job
    train, val = job.sources()
    samples = sum(each.n_bytes for each in (train, *val))
    step = training_step(member, double=job.double)
    found = Footprint.of(step, train.first(), samples=samples)
    on_cpu = on_host(str(job.trainer.get("accelerator", "auto")))
    return found if on_cpu else replace(found, touched=0)  # the CPU's cache is no limit there


def _count(group: Group, processes: int, size: int | None) -> int:
    """How many blocks to make of a group."""
    numbers = group.numbers
    # Two at least: a stack of a single run is filled up with a copy of it.
    largest = size or max(2, group.footprint.most(processes=processes))
    n = math.ceil(len(numbers) / largest)
    if size is None:
        n = max(n, min(processes, len(numbers) // SMALLEST))
        # A multiple of the processes: else some would have nothing to do while the last blocks train.
        n = min(len(numbers), math.ceil(n / processes) * processes) if n > 1 else 1
    return n


def _cut(numbers: list[int], n: int, *, dealt: bool) -> Sequence[list[int]]:
    if dealt:
        return [numbers[i::n] for i in range(n)]
    # Rounded ends and no common size: the blocks then differ by one run at most.
    ends = [round(len(numbers) * (i + 1) / n) for i in range(n)]
    return [numbers[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
