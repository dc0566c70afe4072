"""A job before an epoch of its training: what a stack needs of it to train the epoch, and what comes back."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torchmetrics import Metric

from shoal.dropin.gathering import Feed, GatheredIterator
from shoal.dropin.own_values import Resolved, is_settings, resolved
from shoal.engines.stack.run_optimizer import RunOptimizer, Scheduled
from shoal.engines.vectorized.signature import Signature, signature


@dataclass
class EpochBatches:
    """The batches of an epoch: samples, and where in them those of each batch are."""

    feed: Feed
    places: list[Tensor]

    @classmethod
    def of(cls, batches: GatheredIterator, n: int) -> EpochBatches:
        """The next `n` batches."""
        return cls(batches.feed, [batches.feed.places(each) for each in batches.order()[:n]])

    @property
    def sizes(self) -> tuple[int, ...]:
        """Samples of each batch."""
        return tuple(len(each) for each in self.places)


def side_by_side(parts: Sequence[EpochBatches], number: int, dtype: torch.dtype) -> Any:
    """The batch of this number of each of several jobs, its tensors of shape (runs, batch, ...)."""
    samples = parts[0].feed.samples
    if all(part.feed.samples is samples for part in parts):
        # Of the same samples those of all jobs are taken at once.
        places = torch.stack([part.places[number] for part in parts])
        shape = places.shape
        leaves = [leaf.index_select(0, places.flatten()).view(*shape, *leaf.shape[1:]) for leaf in samples.leaves]
    else:
        each = [[leaf[part.places[number]] for leaf in part.feed.samples.leaves] for part in parts]
        leaves = [torch.stack(list(leaf)) for leaf in zip(*each, strict=True)]
    if dtype == torch.float64:
        leaves = [leaf.to(dtype) if leaf.is_floating_point() else leaf for leaf in leaves]
    return pytree.tree_unflatten(leaves, samples.spec)


@dataclass
class LightningFit:
    """A training that may take its epochs in a stack."""

    trainer: Any
    module: Any
    own: RunOptimizer
    alike: Signature = field(default_factory=dict)
    """What others must agree in with it to share its stack."""
    trained: Hashable = None
    """What `trains` said when it began."""
    seen: Hashable = None
    """What `looks` said when that was known."""
    resolved: Resolved = ()
    """The configurations that its module keeps."""
    versions: Hashable = None
    """What `now` said when an epoch in a stack had been taken over."""

    @classmethod
    def of(cls, trainer: Any) -> LightningFit:
        """That of a Trainer whose training can.

        Raises:
            UnfitError: where its optimizer does not have the parameters that are trained.
        """
        # Those that step by epoch are left to Lightning, whose loop steps them around the epoch.
        by_step = [
            Scheduled(config.scheduler, "step", config.frequency)
            for config in trainer.lr_scheduler_configs
            if config.interval == "step"
        ]
        module = trainer.lightning_module
        found = cls(trainer, module, RunOptimizer(module, trainer.optimizers[0], by_step))
        found.trained = found.trains()
        return found

    def trains(self) -> Hashable:
        """Which parameters are trained: a callback may begin or cease to train some."""
        groups = self.own.optimizer.param_groups
        return (
            tuple((id(param), param.requires_grad) for param in self.module.parameters()),
            tuple(tuple(map(id, group["params"])) for group in groups),
        )

    @property
    def double(self) -> bool:
        """Whether it computes in float64."""
        return bool(self.trainer.precision == "64-true")

    @property
    def accumulate(self) -> int:
        """Batches whose gradients are added up for a step of the optimizer."""
        return int(self.trainer.accumulate_grad_batches)

    @property
    def limits(self) -> tuple[float | None, float | None]:
        """The largest norm and the largest value of its gradient."""
        limit = self.trainer.gradient_clip_val or None
        # Lightning has an enumeration here, or None for its default, the norm.
        by_value = str(getattr(self.trainer.gradient_clip_algorithm, "value", "norm") or "norm") == "value"
        return (None, limit) if by_value else (limit, None)

    def now(self) -> Hashable:
        """Which tensors the module and the state of its optimizer are, and how often each of them was changed."""
        # Torch counts the writes to a tensor: nothing need be copied to see a change.
        every = [*self.module.parameters(), *self.module.buffers(), *pytree.tree_leaves(dict(self.own.optimizer.state))]
        return tuple((id(each), each._version) for each in every if isinstance(each, Tensor))

    def steps(self, batches: int) -> list[int]:
        """The batches of so many after which the optimizer steps."""
        n = self.accumulate
        # As Lightning: also after the last batch, however few were added up by then.
        return [number for number in range(batches) if (number + 1) % n == 0 or number + 1 == batches]

    def learn(self, batch: Any, sizes: Sequence[int]) -> None:
        """Find out what others must agree in with it."""
        self.seen = looks(self.module)
        self.resolved = resolved(self.module)
        modes = tuple(part.training for part in self.module.modules())
        self.alike = {
            **signature(self.module, self.own.optimizer, batch, free=_free),
            "the batches": tuple(sizes),
            "whether a part trains": modes,
            "the precision": self.trainer.precision,
            "the batches of an optimizer step": self.accumulate,
            "the groups of the optimizer": tuple(map(tuple, self.own.names)),
        }


@dataclass
class Waiting:
    """A job that waits for an epoch."""

    fit: LightningFit
    train: EpochBatches
    val: EpochBatches | None
    """The validation after the epoch."""
    epoch: int
    step: int
    randomness: Tensor
    """Where torch's generator is before the first step."""
    changed: bool
    """Whether its module looks otherwise than when others were found for it."""

    @property
    def validation(self) -> EpochBatches:
        """The validation after the epoch, which there is."""
        assert self.val is not None
        return self.val

    @property
    def stepped(self) -> int:
        """Steps its optimizer has taken; none of a new one, whatever its Trainer has counted in an earlier fit."""
        return self.step if self.fit.own.optimizer.state else 0

    def batch(self, part: EpochBatches, number: int, dtype: torch.dtype) -> Any:
        """A batch as the job's own step is given it."""
        found = part.feed.samples.batch(part.places[number])
        return pytree.tree_map(lambda leaf: leaf.to(dtype) if leaf.is_floating_point() else leaf, found)


@dataclass
class Passed:
    """What the steps of an epoch's batches gave one job."""

    logged: dict[str, Tensor]
    """By name a value for each batch."""
    sizes: tuple[int, ...]
    calls: Mapping[str, dict[str, Any]]
    metrics: Mapping[str, str]
    updates: Mapping[str, int]
    buffers: dict[str, Tensor]


@dataclass
class Trained:
    """What an epoch in a stack came to for one job."""

    params: list[Tensor]
    grads: list[Tensor]
    state: list[dict[str, Any]]
    """Of the optimizer, for each parameter; behind those what it keeps beside none."""
    randomness: Tensor | None
    """Where torch's generator is after the last step, where the steps draw."""
    train: Passed
    val: Passed | None


def looks(module: nn.Module) -> Hashable:
    """Plain attributes of a module and its parts: one that a hook changes between epochs is seen by them."""
    return tuple(
        # A container as text: it is changed in place, and the object that was noted would be equal to itself.
        (name, str(value) if isinstance(value, list | dict | tuple | set) else value)
        for part in module.modules()
        # A metric is another one after every step, and is told of each (`replay`).
        if not isinstance(part, Metric)
        for name, value in vars(part).items()
        if isinstance(value, _PLAIN) and name not in _NOT_LOOKED_AT
    )


_PLAIN = (bool, int, float, str, type(None), list, dict, tuple, set)
_CHANGING = {"_metric_attributes", "_current_fx_name", "_update_count", "_computed", "_forward_cache", "_cache"}
"""Attributes in which Lightning and torchmetrics keep what they have come to."""
_NOT_LOOKED_AT = {
    *("_parameters", "_buffers", "_modules", "_current_fx_name", "_metric_attributes", "_non_persistent_buffers_set"),
    *("_is_full_backward_hook", "_hparams", "_hparams_initial", "_log_hyperparams", "prepare_data_per_node"),
}


def _free(name: str, value: Any) -> bool:
    # Settings may differ as long as no step reads what differs, which is seen (`OwnValues`).
    return name in _CHANGING or is_settings(name, value)
