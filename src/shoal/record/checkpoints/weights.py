"""The tensors of a state: copied, compared, and put in the place of others."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from shoal.record.checkpoints.checkpoint_file import EXTRA, GOING_ON


def finite(tensors: Mapping[str, Any]) -> bool:
    """Whether all numbers in these tensors are finite."""
    floats = [each for each in tensors.values() if isinstance(each, Tensor) and each.is_floating_point()]
    return all(bool(torch.isfinite(each).all()) for each in floats)


def show(state: dict[str, Any], weights: dict[str, Any]) -> bool:
    """Put `weights` in a state, beside its own, which a training goes on from; False where they are the same."""
    own = state["state_dict"]
    if own.keys() != weights.keys() or equal(own, weights):
        return False
    state[EXTRA][GOING_ON], state["state_dict"] = own, weights
    return True


def equal(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether the tensors of one state have the numbers of those of the other."""
    return all(torch.equal(value, other[name]) for name, value in one.items())


def cloned(value: Any) -> Any:
    """A copy that shares no tensor with `value`."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        found = copy.copy(value)  # not made of pairs: a Counter would count them, a defaultdict lose its default
        for key, item in value.items():
            found[key] = cloned(item)
        return found
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        # A named tuple takes its fields one by one, any other tuple all of them at once.
        return type(value)(*map(cloned, value))
    if isinstance(value, list | tuple):
        return type(value)(map(cloned, value))
    return value
