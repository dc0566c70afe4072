"""A LightningModule's own steps as functions of its parameters, with what they log caught on the way.

While a step runs, its module's class is one that catches what it asks for (`catching`).
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.signature_utils import is_param_in_hook_signature
from torch import Tensor, nn
from torch.func import functional_call

from shoal.step.as_written import as_written
from shoal.step.attributes import marks
from shoal.step.batch_parts import as_given
from shoal.step.catching import catching
from shoal.step.clock import Clock
from shoal.step.filled import Fills
from shoal.step.held_twice import HeldTwice
from shoal.step.left import Left
from shoal.step.logged import Entry, Stage
from shoal.step.metrics import known
from shoal.step.outward import nothing_left
from shoal.step.own_batch import OwnBatch
from shoal.step.recurrent import own_weights
from shoal.step.step_trainer import switch
from shoal.step.stepped import Outcome, Tensors
from shoal.step.taken import Taken, as_tensor
from shoal.step.timed import Timed
from shoal.step.transferred import forms_of, n_samples, own_hooks, transferred
from shoal.step.unfit import AS_BUFFER, OWN_NAME, SET_ANEW, CannotStackError
from shoal.step.unseen import unseen
from shoal.tasks.precision import new_tensors


class _Calling(nn.Module):
    """A module whose forward is a step of the LightningModule in it."""

    def __init__(self, module: pl.LightningModule, stage: Stage, hooks: Sequence[str]) -> None:
        super().__init__()
        self.module = module
        self.hooks = hooks
        self.step = "training_step" if stage == "train" else "validation_step"
        # Asked as Lightning asks: a second argument of any name is given the number.
        self._numbered = is_param_in_hook_signature(getattr(module, self.step), "batch_idx", min_args=2)

    def forward(
        self, batch: Any, number: Any, loader: int | None, names: Sequence[str], trained: Sequence[str]
    ) -> tuple[Any, list[Tensor]]:
        """What the step gives, and the tensors of these names after it: it may put others in their places.

        Raises:
            CannotStackError: where it puts others in the places of parameters that are `trained`.
        """
        before = [operator.attrgetter(name)(self.module) for name in trained]
        batch = transferred(self.module, self.hooks, as_given(batch), loader or 0)
        given = [batch, *([number] if self._numbered else []), *([] if loader is None else [loader])]
        output = getattr(self.module, self.step)(*given)
        for name, param in zip(trained, before, strict=True):
            # Alone, no optimizer knows the new one.
            if operator.attrgetter(name)(self.module) is not param:
                raise CannotStackError(f"puts another parameter in the place of self.{name}", SET_ANEW)
        return output, [operator.attrgetter(name)(self.module) for name in names]


def _shared(module: nn.Module) -> dict[str, str]:
    """For each further place where a module has a tensor that it has elsewhere, the name of the first place.

    A part that is in a module twice has one place for it: where `functional_call` is given both names of that place, it
    leaves in the module what it was called with (pytorch issue 164759).
    """
    first: dict[int, str] = {}
    shared = {}
    for path, part in module.named_modules():
        for name, value in [*part._parameters.items(), *part._buffers.items()]:
            whole = f"{path}.{name}"
            if value is not None and first.setdefault(id(value), whole) != whole:
                shared[whole] = first[id(value)]
    return shared


class CapturedStep:
    """The training or validation step of a LightningModule, as a step of the vectorised engine."""

    also: type | None = None
    """What stands before the module's class as well while it runs."""

    def __init__(
        self,
        module: pl.LightningModule,
        stage: Stage,
        *,
        keeps: bool = False,
        mixed: bool = False,
        double: bool = False,
        hooks: Sequence[str] | None = None,
    ) -> None:
        """`keeps` says to keep what the step returns: a tensor of outputs; `mixed` to use bfloat16 where torch can.

        `double` says that tensors which the step makes are float64 unless it says otherwise, as in Lightning. A batch
        goes through these `hooks`: those of the module itself, unless given.
        """
        self.module = module
        self.stage: Stage = stage
        self.keeps = keeps
        self.mixed, self.double = mixed, double
        self.entries: dict[str, Entry] = {}
        """How to read what the step logged, by name; known after the first call."""
        self._loaders: dict[str, int | None] = {}
        self.gives_loss = stage == "train"
        """Whether it gives a loss back, once that is known."""
        self.fills = Fills(module)
        """What the step appends to lists of the module."""
        self.hooked: frozenset[str] = frozenset()
        """Attributes of the module that hooks change between steps."""
        self.agreed: frozenset[str] = frozenset()
        """Those of them that are the same in all runs now."""
        self.closely = True
        """Whether to see that it leaves nothing outside of its module."""
        self.hears = False
        """Whether to hear what functions in C it calls, too."""
        self.left = Left()
        """What is known of what steps leave on the module."""
        self.batches = OwnBatch()
        # Asked now: setting up a DataModule within a mapping would have it draw there.
        self._calling = _Calling(module, stage, own_hooks(module) if hooks is None else hooks)
        self._shared = _shared(self._calling)
        self._held_twice = HeldTwice(self._calling)

    def like(self, module: pl.LightningModule) -> CapturedStep:
        """The same step of another module."""
        how: dict[str, Any] = {
            "keeps": self.keeps,
            "mixed": self.mixed,
            "double": self.double,
            "hooks": self._calling.hooks,
        }
        found = type(self)(module, self.stage, **how)
        found.fills.items = list(self.fills.items)  # which are known by their numbers
        found.left, found.batches = self.left, self.batches
        found.hears = True  # what steps of one module call, those of the others do
        return found

    def held(self) -> dict[str, Tensor]:
        """The tensors of the module that a step is given beside its trained parameters: buffers, frozen parameters."""
        frozen = {n: param.detach() for n, param in self.module.named_parameters() if not param.requires_grad}
        return frozen | dict(self.module.named_buffers())

    @property
    def needs_loss(self) -> bool:
        """Whether it must give a loss back."""
        return self.stage == "train"

    def given(self, batch: Any) -> Any:
        """What it is called with, for a batch."""
        return batch

    def beside(self) -> dict[str, Any]:
        """What its module has while it runs, beside what all have."""
        return {}

    @property
    def name(self) -> str:
        """The name of the method."""
        return self._calling.step

    @property
    def of_metrics(self) -> dict[str, Entry]:
        """How to read the metrics with a state that the step logged."""
        return {name: entry for name, (_, entry) in self.fills.metrics.logged.items()}

    def __call__(self, params: Tensors, buffers: Tensors, batch: Any, clock: Clock) -> Outcome:
        switch(self.module, training=self.stage == "train")
        # A step may write to its buffers, as batch norm does, and these are the stack's.
        new = {name: value.clone() for name, value in buffers.items()}
        named = {f"module.{name}": value for name, value in {**params, **new}.items()}
        named |= {name: named[own] for name, own in self._shared.items()}
        device = next(iter(params.values())).device
        tags = {name: marks(vars(value)) for name, value in named.items() if vars(value)} if self.closely else {}
        with (
            self._watched(batch, traced=clock.time_use is not None) as listening,
            unseen(getattr(self.module._trainer, "steppers", ()) if self.closely else ()),
            self.left.behind(self.module) as told,
            self._observed(batch, clock, device) as caught,
            self.fills.watched() as filled,
            clock.drawing(),
            own_weights(self.module),
            new_tensors(double=self.double),
            self.batches.given(batch) as own,
            as_written(),
            # Without the cache, as in Lightning: it would keep casts of one run's weights for another's.
            torch.autocast(device.type, torch.bfloat16, cache_enabled=False) if self.mixed else nullcontext(),
        ):
            given = own, clock.batch_number(), clock.loader, list(new), list(params)
            # No ties of torch's: they would give a part that is in the module twice both of its names (see `_shared`).
            with self._held_twice.given(named), listening:
                output, after = functional_call(self._calling, named, given, tie_weights=False)
            latest = self.fills.latest(told())
        for name, value in named.items() if self.closely else ():
            if vars(value) and marks(vars(value)) != tags.get(name):
                raise CannotStackError(f"changes an attribute of {name.removeprefix('module.')}", AS_BUFFER)
        self._note({name: entry for name, (_, entry) in caught.items()}, clock.loader)
        logged = {name: _scalar(name, value, params) for name, (value, _) in caught.items()}
        buffers = dict(zip(new, after, strict=True))
        return Outcome(self._loss(output, params), logged | filled | latest, buffers, (output,) if self.keeps else ())

    def _watched(self, batch: Any, *, traced: bool) -> AbstractContextManager[AbstractContextManager[None]]:
        if not self.closely:
            return nullcontext(nullcontext())
        return nothing_left(self.module, (self.stage, forms_of(batch)), hears=self.hears, traced=traced)

    def _note(self, found: Mapping[str, Entry], loader: int | None) -> None:
        """Remember how to read what was logged, and of which data loader it is."""
        for name, entry in found.items():
            if self.entries.setdefault(name, entry) != entry:
                raise CannotStackError(f"logs {name} with other arguments than before", OWN_NAME)
            if self._loaders.setdefault(name, loader) != loader:
                raise CannotStackError(f"logs {name} of several data loaders", OWN_NAME)

    @contextmanager
    def _observed(self, batch: Any, clock: Clock, device: torch.device) -> Iterator[dict[str, tuple[Any, Entry]]]:
        module: Any = self.module
        cls: Any = type(self.module)
        caught: dict[str, tuple[Any, Entry]] = {}
        watched = {"_caught": caught, "_clock": clock, "_stage": self.stage, "_n_samples": n_samples(batch)}
        watched |= self.beside()
        watched |= {"_agreed": lambda: self.agreed, "_written": set[str](), "_fills": self.fills, "_place": device}
        module.__dict__.update(watched)
        standing = module.__class__ = catching(cls, self.hooked - self.fills.hooked, self.also)
        before = {*vars(standing)}
        try:
            yield caught
        finally:
            module.__class__ = cls
            set_on_class = [name for name in vars(standing) if name not in before]
            for name in set_on_class:
                delattr(standing, name)
            # What is left in `__dict__` would go into the module's pickle.
            for name in watched:
                del module.__dict__[name]
        if set_on_class:
            name = f"{cls.__qualname__}.{set_on_class[0]}"
            raise CannotStackError(f"changes {name}, which is no attribute of its module", AS_BUFFER)

    def _loss(self, output: Any, params: Tensors) -> Tensor:
        output = known(output.get("loss", output) if isinstance(output, Mapping) else output)
        if not self.needs_loss:
            self.gives_loss = isinstance(output, Tensor) and output.numel() == 1
            # A mapping gives the same tensors whatever a step returns: zero stands for none.
            return output.reshape(()) if self.gives_loss else next(iter(params.values())).new_zeros(())
        if not isinstance(output, Tensor):
            raise CannotStackError(
                f"returns no loss but {_told(output)}",
                "a tensor with its gradient, alone or as `loss` in a dictionary, is one",
            )
        if output.numel() != 1:
            raise CannotStackError("returns a loss that is not a single number", "its mean() or sum() is one")
        return output.reshape(())


def _told(output: Any) -> str:
    """What a step has returned, in words."""
    if isinstance(output, Mapping):
        return f"a dictionary of {', '.join(map(str, output)) or 'nothing'}"
    return "None" if output is None else f"a {type(output).__name__}"


def _scalar(name: str, value: Any, params: Tensors) -> Tensor:
    value = known(value)
    if isinstance(value, Mapping):
        raise CannotStackError(f"logs {name}, which holds several values", "log_dict gives each a name of its own")
    if isinstance(value, nn.Module):
        raise CannotStackError(
            f"logs {name}, a module with a state of its own", "a number or a metric of torchmetrics is logged"
        )
    if type(value) in (Timed, Taken):
        value = as_tensor(value)
    if not isinstance(value, Tensor):
        return torch.tensor(_number(name, value), dtype=torch.float64)
    if value.numel() != 1:
        raise CannotStackError(f"logs {name}, which is not a single number", "its mean() or max() is one")
    return value.detach().reshape(())


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise CannotStackError(f"logs {name}, a {type(value).__name__}", "numbers and tensors are logged") from None
