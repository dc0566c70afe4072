"""Lightning's own loops, which in a job let an epoch be trained in a stack where it can be.

They are changed only while jobs run, in whichever of Lightning's two packages the program uses; everything around an
epoch (setup, hooks, loggers, checkpoints, early stopping, tests) is Lightning's own.
"""

from __future__ import annotations

import sys
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch.utils.data import DataLoader

from shoal.dropin import replay
from shoal.dropin.fitness import why_alone
from shoal.dropin.gathering import GatheredIterator, Gathering
from shoal.dropin.routines import Routine, around, current, runs
from shoal.dropin.waiting import EpochBatches, LightningFit, Passed, Waiting, looks
from shoal.engines.stack.run_optimizer import UnfitError
from shoal.errors import brief
from shoal.seeding import continue_torch, torch_state
from shoal.step.unfit import sentence

HOMES = ("pytorch_lightning", "lightning.pytorch")


class Trainings:
    """What is known of the trainings of the jobs that run."""

    def __init__(self, gathering: Gathering) -> None:
        self.gathering = gathering
        self._fits: weakref.WeakKeyDictionary[Any, LightningFit | None] = weakref.WeakKeyDictionary()
        """None of a Trainer that trains alone."""
        self._trained: weakref.WeakKeyDictionary[Any, list[Any]] = weakref.WeakKeyDictionary()
        """The module and the optimizers that this was found out of: a Trainer may fit several times."""
        self._validations: weakref.WeakKeyDictionary[Any, tuple[LightningFit, Passed, list[int]]] = (
            weakref.WeakKeyDictionary()
        )
        """What the validation after the epoch gave, and the versions of the weights that it was of."""

    def advance(self, genuine: Callable[..., None], loop: Any, fetcher: Any) -> None:
        """Take all batches of an epoch with others, or the next one alone."""
        routine = current()
        # Only at an epoch's first batch: one that has begun is Lightning's to the end.
        waiting = self._waiting(routine, loop, fetcher) if routine and not loop.batch_progress.current.ready else None
        if waiting is None or routine is None:
            self._tell_of_thread(loop.trainer, routine)
            return genuine(loop, fetcher)
        answer = routine.wait(waiting)
        if isinstance(answer, str):
            self._alone(loop.trainer, routine, answer)
            return genuine(loop, fetcher)
        fit = waiting.fit
        replay.weights(fit, answer)
        if answer.randomness is not None:
            # The steps have drawn ahead what the job's own generator would have given: it is moved past that.
            continue_torch(answer.randomness)
        if answer.val is not None:
            self._validations[loop.trainer] = fit, answer.val, _versions(fit.module)
        replay.training(loop, fit, answer.train)
        # Lightning asks the fetcher whether the epoch is over; the batches were taken from memory, past it.
        replay.exhaust(fetcher, len(answer.train.sizes))
        return None

    def validation_begins(self, genuine: Callable[..., None], loop: Any) -> None:
        """Begin a validation; one that was done with the epoch ends at once."""
        genuine(loop)
        trainer = loop.trainer
        found = self._validations.pop(trainer, None)
        if found is None or trainer.sanity_checking or trainer.state.fn != "fit":
            return
        fit, passed, versions = found
        # A hook between the epoch and its validation may have changed the weights: then it was of others.
        if _versions(fit.module) == versions and loop.max_batches == [len(passed.sizes)] and not replay.by_step(passed):
            replay.buffers(fit, passed)
            replay.validation(loop, loop._data_fetcher, fit, passed)
            # Else the next epoch would take what was written just now for a change of the job's own.
            fit.versions = fit.now()

    def iterator(self, genuine: Callable[..., Any], loader: Any) -> Any:
        """The iterator of a data loader, over its samples as they were gathered where they could be."""
        feed = self.gathering.feed(loader) if current() else None
        return genuine(loader) if feed is None else GatheredIterator(loader, feed)

    def _waiting(self, routine: Routine, loop: Any, fetcher: Any) -> Waiting | None:
        """The epoch that the job waits for a stack to train; None where Lightning is to train it."""
        trainer = loop.trainer
        trained = [trainer.lightning_module, *trainer.optimizers]
        if trainer not in self._fits or [*map(id, self._trained.get(trainer, []))] != [*map(id, trained)]:
            self._trained[trainer] = trained
            self._begin(routine, trainer)
        fit = self._fits[trainer]
        if fit is None or loop.restarting or not fit.module.training or not torch.is_grad_enabled():
            return None
        if fit.trains() != fit.trained:
            does = "it trains other parameters than at its beginning"
            self._alone(trainer, routine, sentence(does, "frozen from the beginning they stack"))
            return None
        if trainer.num_training_batches == float("inf"):
            return None
        n = int(trainer.num_training_batches)
        # An epoch that `max_steps` would cut short ends within; Lightning knows where.
        if loop.max_steps not in (-1, None) and loop.global_step + len(fit.steps(n)) > loop.max_steps:
            return None
        batches = self._gathered(routine, fetcher, trainer)
        if batches is None:
            return None
        train, val = EpochBatches.of(batches, n), self._validation(loop)
        waiting = Waiting(fit, train, val, trainer.current_epoch, loop.global_step, torch_state(), False)
        try:
            return self._known(waiting)
        except Exception as error:  # whatever an attribute of anybody's does when it is looked at
            self._alone(trainer, routine, brief(error))
            return None

    def _known(self, waiting: Waiting) -> Waiting:
        """Note whether a waiting job's module has changed; the first time, what others must have in common with it."""
        fit = waiting.fit
        if not fit.alike:
            batch = waiting.batch(waiting.train, 0, fit.own.weights[0].dtype)
            fit.learn(batch, waiting.train.sizes)
            return waiting
        now = looks(fit.module)
        waiting.changed, fit.seen = now != fit.seen, now
        return waiting

    def _begin(self, routine: Routine, trainer: Any) -> None:
        """Find out whether a training can take its epochs in a stack."""
        reason = why_alone(trainer)
        try:
            self._fits[trainer] = None if reason else LightningFit.of(trainer)
        except UnfitError as error:
            reason = str(error)
        if reason:
            self._alone(trainer, routine, reason)

    def _alone(self, trainer: Any, routine: Routine, reason: str) -> None:
        self._fits[trainer] = None
        routine.notes.append(f"trains alone: {reason}")

    def _tell_of_thread(self, trainer: Any, routine: Routine | None) -> None:
        """Say once of a training in a thread that a job has begun that it cannot wait for others."""
        job = around()
        if routine is None and job is not None and trainer not in self._fits:
            does = "it trains in a thread of the job's own"
            self._alone(trainer, job, sentence(does, "in the main one it stacks"))

    def _gathered(self, routine: Routine, fetcher: Any, trainer: Any) -> GatheredIterator | None:
        """The batches of the epoch; None where they are not taken out of memory, or not yet."""
        loader = fetcher.combined_loader.iterables
        if not isinstance(loader, DataLoader):
            does = "its batches come from several data loaders, or from none of torch's"
            self._alone(trainer, routine, sentence(does, "with one DataLoader it stacks"))
            return None
        [batches] = fetcher.iterator._iterator.iterators
        # A batch that was fetched ahead has left the iterator: the stack would miss it.
        if isinstance(batches, GatheredIterator) and not getattr(fetcher, "batches", None):
            return batches
        reason = self.gathering.reasons.get(loader)
        if reason:
            self._alone(trainer, routine, reason)
        return None

    def _validation(self, loop: Any) -> EpochBatches | None:
        """The validation that comes after the epoch, where a stack can do it."""
        evaluation = loop.val_loop
        combined = evaluation._combined_loader
        if not loop._should_check_val_epoch() or combined is None or not isinstance(combined.iterables, DataLoader):
            return None
        loader: Any = combined.iterables
        feed = self.gathering.feed(loader)
        # Any other order is drawn once the epoch has trained, which it has not.
        if feed is None or type(loader.sampler).__name__ != "SequentialSampler" or not evaluation._max_batches:
            return None
        [n] = evaluation._max_batches
        return EpochBatches(feed, [feed.places(batch) for batch in list(loader.batch_sampler)[: int(n)]]) if n else None


def _versions(module: Any) -> list[int]:
    return [each._version for each in [*module.parameters(), *module.buffers()]]


@contextmanager
def patched(sweeping: Trainings) -> Iterator[None]:
    """Have Lightning's loops and torch's data loaders ask, until this ends."""
    import pytorch_lightning  # noqa: F401  (whichever of the two it is)

    with ExitStack() as stack:
        for training, evaluation in _loops():
            stack.enter_context(patch.object(training, "advance", _asking(training.advance, sweeping.advance)))
            begins = _asking(evaluation.on_run_start, sweeping.validation_begins)
            stack.enter_context(patch.object(evaluation, "on_run_start", begins))
        iterator = _asking(DataLoader._get_iterator, sweeping.iterator)
        stack.enter_context(patch.object(DataLoader, "_get_iterator", iterator))
        for home in HOMES:
            if display := sys.modules.get(f"{home}.callbacks.progress.rich_progress"):
                stack.enter_context(patch.object(display, "time", SimpleNamespace(sleep=_sleep)))
        yield


def _sleep(seconds: float) -> None:
    """What the thread of a progress bar does between two looks at it, ten times a second; not while all jobs wait."""
    time.sleep(seconds)
    runs.wait()


def _loops() -> list[tuple[Any, Any]]:
    """The loops over an epoch and over a validation, of each Lightning that is loaded."""
    found = {}
    for home in HOMES:
        training = sys.modules.get(f"{home}.loops.training_epoch_loop")
        evaluation = sys.modules.get(f"{home}.loops.evaluation_loop")
        if training and evaluation:
            # By the class, which is one where both names lead to the same Lightning: patched twice, it would ask twice.
            found[id(training._TrainingEpochLoop)] = training._TrainingEpochLoop, evaluation._EvaluationLoop
    return list(found.values())


def _asking(genuine: Callable[..., Any], asked: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Any, *args: Any) -> Any:
        return asked(genuine, self, *args)

    return method
