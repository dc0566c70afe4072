"""What Lightning's `ModelPruning` knows of the weights it has pruned: its checkpoints have the weights alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from pytorch_lightning.callbacks import ModelPruning
from torch import Tensor, nn
from torch.nn.utils import prune


class _Pruned(NamedTuple):
    """A parameter that is to be pruned."""

    name: str
    part: nn.Module
    """That has it."""
    own: str
    """Its name there."""
    first: nn.Module | None
    """A copy of the part with the weights that it is reset to, where it is."""

    @property
    def mask(self) -> Tensor | None:
        """What is pruned of it by now."""
        return getattr(self.part, f"{self.own}_mask", None)

    @property
    def is_first(self) -> bool:
        """Whether it was reset: since then what it is reset to has the same memory, and changes with it."""
        whole, first = getattr(self.part, f"{self.own}_orig", None), getattr(self.first, self.own, None)
        return isinstance(whole, Tensor) and isinstance(first, Tensor) and whole.data_ptr() == first.data_ptr()


def pruned(callbacks: Iterable[Any], module: nn.Module) -> dict[str, Any]:
    """The masks that are on now, by the names of the parameters, and which of these were reset."""
    every = [each for each in _every(callbacks, module) if each.mask is not None]
    return {each.name: {"mask": each.mask, "reset": each.is_first} for each in every}


def prune_again(callbacks: Iterable[Any], module: nn.Module, kept: Mapping[str, Any]) -> None:
    """Let what was pruned stay so."""
    for each in _every(callbacks, module):
        if each.name in kept:
            mask = kept[each.name]["mask"].to(getattr(each.part, each.own).device)
            prune.custom_from_mask(each.part, each.own, mask)  # type: ignore[no-untyped-call]
            if kept[each.name]["reset"] and each.first is not None:
                getattr(each.first, each.own).data = getattr(each.part, f"{each.own}_orig").data


def _every(callbacks: Iterable[Any], module: nn.Module) -> Iterator[_Pruned]:
    paths = {id(part): path for path, part in module.named_modules()}
    for callback in callbacks:
        if isinstance(callback, ModelPruning):
            firsts = callback._original_layers or {}
            for part, own in callback._parameters_to_prune:
                first = firsts[id(part)]["data"] if id(part) in firsts else None
                yield _Pruned(f"{paths[id(part)]}.{own}", part, own, first)
