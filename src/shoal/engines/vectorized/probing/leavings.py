"""What a step leaves on its module beside weights and buffers: state, or what later steps do not depend on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from shoal.step.attributes import Attributes
from shoal.step.captured import CapturedStep
from shoal.step.exact.rows import same_numbers
from shoal.step.left import Left, Place, as_before, watched
from shoal.step.transferred import forms_of

OTHERWISE = 0.75
"""By what weights and numbers of a batch are multiplied, for a look at what depends on them."""
_PLAIN = (bool, int, float, complex, str, type(None), torch.dtype, torch.device)
LATER = 1
"""By how many epochs and steps the clock is moved on, for a look at what depends on it."""


Taken = Callable[[float, int], bool]
"""Takes a step once more, its weights and its batch multiplied, so many epochs later; whether it came to the same."""


class Trial(Left):
    """Sees what a step leaves."""

    def __init__(self, known: Left, watch: Iterable[Place] = (), *, settings: Iterable[Place] = ()) -> None:
        """It takes note of which of these attributes are looked at before they are set; of settings backward too."""
        super().__init__(known.scratch, known.constants, known.told)
        self.settings = tuple(settings)
        self.watch = (*watch, *self.settings)
        self.looked: set[Place] = set()
        self.left: dict[Place, Any] = {}
        """What the step has left; known once it is over."""

    @contextmanager
    def behind(self, module: nn.Module) -> Iterator[Callable[[], dict[str, Any]]]:
        """A step of the module; it may look at what an earlier one has set."""
        attributes = Attributes(module)
        attributes.note()
        with as_before(module):
            with watched(module, self.watch, self.looked.add):
                yield self.telling(module)
            self.left = {place: _copied(_value(module, place)) for place, _ in attributes.differing()}

    def noticing(self, module: nn.Module) -> AbstractContextManager[None]:
        """The backward pass of a step of the module."""
        return watched(module, self.settings, self.looked.add)


def state_of(step: CapturedStep, known: Left, left: Mapping[Place, Any], batch: Any, take: Taken) -> Place | None:
    """One of the attributes that a step of a run has left and that is state; None where the others are known by now.

    `take` takes the step again, on this batch.
    """
    step.left = warm = Trial(known, left)
    with as_before(step.module):
        for place, value in {**left, **_earlier(known)}.items():
            _put(step.module, place, value)
        repeats = _tried(take, 1.0, 0)
    step.left = other = Trial(known, left)
    _tried(take, OTHERWISE, LATER)
    looked = {*warm.looked, *other.looked, *known.constants}
    if not repeats and looked.isdisjoint(left):  # it looks at one of them past the attribute
        return next(iter(left))
    for place, value in left.items():
        if place not in looked and not _is_hooked(step, place):
            known.scratch.add(place)
        elif repeats and not _is_hooked(step, place) and _is_constant(place, value, warm, other):
            known.constants.setdefault(place, {})[forms_of(batch)] = value
        else:
            return place
    return next((place for trial in (warm, other) for place in trial.left if place not in left), None)


def _tried(take: Taken, factor: float, later: int) -> bool:
    try:
        return take(factor, later)
    except Exception:  # whatever a step of anybody's does with what is made up
        return False


def unknown(known: Left, left: Mapping[Place, Any], batch: Any) -> Place | None:
    """The first of the attributes a run has left that others have not, or not with this value; or None.

    Without a batch nothing is said of values.
    """
    for place, value in left.items():
        values = known.constants.get(place, {})
        same = bool(values) if batch is None else _alike(values.get(forms_of(batch), _Unlike()), value)
        if place not in known.scratch and not same:
            return place
    return None


def _is_hooked(step: CapturedStep, place: Place) -> bool:
    """Whether hooks change it between steps, so that it is no step's alone."""
    path, name = place
    return not path and name in step.hooked


def _is_constant(place: Place, value: Any, warm: Trial, other: Trial) -> bool:
    """Whether it comes to the same from another batch and other weights, and a further step leaves it."""
    return _alike(warm.left.get(place, value), value) and _alike(other.left.get(place), value)


def _earlier(known: Left) -> dict[Place, Any]:
    """Each constant as it first came about."""
    return {place: next(iter(values.values())) for place, values in known.constants.items() if values}


def _value(module: nn.Module, place: Place) -> Any:
    path, name = place
    part = module.get_submodule(path)
    if name in part._buffers:
        # One that is saved would be in the checkpoints of runs that train alone, and missing in those of others.
        return part._buffers[name] if name in part._non_persistent_buffers_set else _Unlike()
    return vars(part).get(name, _Unlike())


def _put(module: nn.Module, place: Place, value: Any) -> None:
    if any(isinstance(leaf, _Unlike) for leaf in pytree.tree_leaves(value)):
        return
    path, name = place
    part = module.get_submodule(path)
    (part._buffers if name in part._buffers else vars(part))[name] = _copied(value)


class _Unlike:
    """Stands for what cannot be compared: it is like nothing else."""


def _copied(value: Any) -> Any:
    """A value that stays as it is now."""
    leaves, spec = pytree.tree_flatten(value)
    kept = [each.detach().clone() if isinstance(each, Tensor) else _kept(each) for each in leaves]
    return pytree.tree_unflatten(kept, spec)


def _kept(leaf: Any) -> Any:
    if isinstance(leaf, numpy.ndarray):
        return leaf.copy()
    return leaf if isinstance(leaf, _PLAIN) else _Unlike()


def _alike(one: Any, other: Any) -> bool:
    """Whether two values hold the same."""
    (leaves, spec), (others, as_well) = pytree.tree_flatten(one), pytree.tree_flatten(other)
    return spec == as_well and all(_same(a, b) for a, b in zip(leaves, others, strict=True))


def _same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, Tensor):
        return one.dtype == other.dtype and one.shape == other.shape and same_numbers(one, other)
    if isinstance(one, numpy.ndarray):
        return bool(one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes())
    return bool(one == other)
