"""When a Trainer makes a user's data loaders, and what they draw as they are made.

Lightning makes those for training as a training begins, those for validation then or as the first validation does, and
both anew as `reload_dataloaders_every_n_epochs` says, counted from when they were made last. A training that goes on
has to make those that it had, and neither sooner nor later than it would have.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

import pytorch_lightning as pl
from pytorch_lightning.utilities.model_helpers import is_overridden

from shoal.seeding import (
    Stream,
    generators_restored,
    global_generator,
    global_states,
    set_global_states,
)

Stage = Literal["train", "val"]
_HOOKS: tuple[tuple[Stage, str], ...] = (("train", "train_dataloader"), ("val", "val_dataloader"))


class MadeLoaders:
    """The data loaders of one training, as often as they are made."""

    def __init__(self, seed: int, tell: Callable[[Any], None]) -> None:
        """`tell` is told the loaders for validation that are made while an epoch is under way."""
        self._seed = seed
        self._tell = tell
        self._made: dict[str, list[int]] = {}
        """Of each stage the epoch in which it was made last, and how often before that."""
        self._here: set[str] = set()
        """Stages that this process has made."""
        self._began: Any = None
        """Where the global generators were as the training began."""

    def follow(self, trainer: Any, module: pl.LightningModule) -> None:
        """Follow what the DataModule, or the module itself, gives this Trainer."""
        source: Any = trainer.datamodule or module
        for place, (stage, hook) in enumerate(_HOOKS):
            if is_overridden(hook, source):
                setattr(source, hook, self._followed(getattr(source, hook), trainer, stage, place))
        loop = trainer.fit_loop.epoch_loop.val_loop
        loop.setup_data = self._undisturbed(loop)

    def begin(self, trainer: Any) -> None:
        """Take note of where the training begins, which is at the Trainer's epoch."""
        self._began = global_states()
        self.count_from(trainer)

    def count_from(self, trainer: Any) -> None:
        """Have the Trainer count the epochs until it makes them anew from when they were made, not from a resume."""
        if not trainer.reload_dataloaders_every_n_epochs:
            return
        if "train" in self._made:
            trainer.fit_loop._last_train_dl_reload_epoch = self._made["train"][0]
        if "val" in self._made:
            trainer.fit_loop.epoch_loop.val_loop._last_val_dl_reload_epoch = self._made["val"][0]

    def state_dict(self) -> dict[str, Any]:
        """Of each stage when it was made last; nothing where they are made once."""
        return {stage: list(when) for stage, when in self._made.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._made = {stage: list(when) for stage, when in state.items()}

    def _followed(self, hook: Callable[..., Any], trainer: Any, stage: Stage, place: int) -> Callable[..., Any]:
        @functools.wraps(hook)
        def followed(*args: Any, **kwargs: Any) -> Any:
            with self._drawing(trainer, stage, place):
                return hook(*args, **kwargs)

        return followed

    def _undisturbed(self, loop: Any) -> Callable[[], None]:
        setup_data = loop.setup_data

        def undisturbed() -> None:
            before = loop._combined_loader
            # What they draw as they are made, and begun for nothing to see that they can be, is not the epoch's.
            with nullcontext() if self._began is None else generators_restored():
                setup_data()
            if self._began is not None and loop._combined_loader is not before:
                self._tell(loop._combined_loader.flattened)

        return undisturbed

    @contextmanager
    def _drawing(self, trainer: Any, stage: Stage, place: int) -> Iterator[None]:
        if trainer.reload_dataloaders_every_n_epochs:
            self._made[stage] = self._next(trainer, stage)
            # Not from where the epoch before has left the generators: a training that goes on cannot know that.
            with global_generator(self._seed, Stream.USER, self._made[stage][1], place):
                yield
        elif self._began is not None:
            # Those of a first validation that is not in the first epoch: made as if they had been made at once.
            set_global_states(self._began)
            yield
        else:
            yield

    def _next(self, trainer: Any, stage: Stage) -> list[int]:
        """The epoch and the number of what is made now."""
        first, last = stage not in self._here, self._made.get(stage)
        self._here.add(stage)
        epoch = trainer.current_epoch
        if last is None:
            return [epoch, 0]
        # A training that goes on makes what it had once more, unless it is time for others.
        again = first and (self._began is None or epoch - last[0] < trainer.reload_dataloaders_every_n_epochs)
        return last if again else [epoch, last[1] + 1]
