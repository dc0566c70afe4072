"""Between main memory and the device of a stack: a transfer costs as much as a step, so many tensors go as a few."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

HOST = torch.device("cpu")
"""Where samples are read, weights are drawn and records are written, whatever device trains."""
Tree = TypeVar("Tree")


def copied(value: Tensor) -> Tensor:
    """A copy in main memory, dense as it is."""
    return value.to(HOST, copy=True)


def sent(tree: Tree, device: torch.device) -> Tree:
    """What is in main memory, on a device."""
    return tree if device == HOST else _moved(tree, device)


def fetched(tree: Tree, device: torch.device) -> Tree:
    """What is on a device, in main memory."""
    return tree if device == HOST else _moved(tree, HOST)


def _moved(tree: Tree, device: torch.device) -> Tree:
    leaves, spec = pytree.tree_flatten(tree)
    alike: dict[object, list[int]] = {}
    for place, leaf in enumerate(leaves):
        if isinstance(leaf, Tensor) and leaf.device != device:
            alike.setdefault((leaf.shape, leaf.dtype), []).append(place)
    # Those of one shape and type are one tensor on the way: (n, *shape).
    for places in alike.values():
        for place, value in zip(places, torch.stack([leaves[each] for each in places]).to(device), strict=True):
            leaves[place] = value
    moved: Tree = pytree.tree_unflatten(leaves, spec)
    return moved
